//! libchdb's C interface, and nothing else: the only unsafe code of the workspace.
//!
//! The rules it relies on, from chdb.h: a connection runs one statement at a time; a result and what it points to live
//! until it is destroyed; all texts are passed with their length; one process has one storage path.

#![expect(unsafe_code, reason = "a C library can be called in no other way")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use libloading::Library;

/// What the engine says when a statement fails: `Code: 60. DB::Exception: Table x.y does not exist. (UNKNOWN_TABLE)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineError(pub(crate) String);

/// The outcome of a statement.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) rows_read: u64,
    pub(crate) bytes_read: u64,
    pub(crate) rows_written: u64,
    pub(crate) bytes_written: u64,
    pub(crate) seconds: f64,
}

/// What the engine's parser says of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Analysis {
    /// Zero when the text does not parse.
    pub(crate) statements: u32,
    pub(crate) only_reads: bool,
}

/// Pointers of the library that we never look behind.
type Handle = *mut c_void;
type Text = *const c_char;

/// `chdb_query_analysis_v1`.
#[repr(C)]
struct RawAnalysis {
    struct_size: u32,
    statement_count: u32,
    flags: u32,
    query_class: u32,
}

/// The functions that we use, with the signatures of chdb.h.
pub(crate) struct Chdb {
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Handle,
    close: unsafe extern "C" fn(*mut Handle),
    shutdown: unsafe extern "C" fn() -> c_int,
    query: unsafe extern "C" fn(
        Handle,
        Text,
        usize,
        Text,
        usize,
        *const Text,
        *const usize,
        *const Text,
        *const usize,
        usize,
    ) -> Handle,
    classify: unsafe extern "C" fn(Handle, Text, usize, Text, usize, *mut RawAnalysis) -> c_int,
    insert: unsafe extern "C" fn(Handle, Text, usize, Text, usize) -> Handle,
    append: unsafe extern "C" fn(Handle, *const c_void, usize) -> c_int,
    done: unsafe extern "C" fn(Handle) -> Handle,
    insert_error: unsafe extern "C" fn(Handle) -> Text,
    destroy_insert: unsafe extern "C" fn(Handle),
    result_buffer: unsafe extern "C" fn(Handle) -> *mut c_char,
    result_length: unsafe extern "C" fn(Handle) -> usize,
    result_error: unsafe extern "C" fn(Handle) -> Text,
    result_seconds: unsafe extern "C" fn(Handle) -> f64,
    result_rows_read: unsafe extern "C" fn(Handle) -> u64,
    result_bytes_read: unsafe extern "C" fn(Handle) -> u64,
    result_rows_written: unsafe extern "C" fn(Handle) -> u64,
    result_bytes_written: unsafe extern "C" fn(Handle) -> u64,
    destroy_result: unsafe extern "C" fn(Handle),
}

impl Chdb {
    /// Loads the library, for as long as the process lives.
    pub(crate) fn load(path: &Path) -> anyhow::Result<&'static Self> {
        // SAFETY: the file is the pinned and verified libchdb.so; what its initialisers do is what it was made for.
        let library = unsafe { Library::new(path) }?;
        // Never unloaded: it has threads and thread-local state of its own.
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY, for each symbol: the type of the field is the signature in the chdb.h of the pinned version.
        let functions = unsafe {
            Self {
                connect: *library.get(b"chdb_connect")?,
                close: *library.get(b"chdb_close_conn")?,
                shutdown: *library.get(b"chdb_shutdown")?,
                query: *library.get(b"chdb_query_with_params_n")?,
                classify: *library.get(b"chdb_classify_query_n")?,
                insert: *library.get(b"chdb_stream_insert_n")?,
                append: *library.get(b"chdb_stream_append")?,
                done: *library.get(b"chdb_stream_done")?,
                insert_error: *library.get(b"chdb_stream_insert_error")?,
                destroy_insert: *library.get(b"chdb_destroy_insert_stream")?,
                result_buffer: *library.get(b"chdb_result_buffer")?,
                result_length: *library.get(b"chdb_result_length")?,
                result_error: *library.get(b"chdb_result_error")?,
                result_seconds: *library.get(b"chdb_result_elapsed")?,
                result_rows_read: *library.get(b"chdb_result_rows_read")?,
                result_bytes_read: *library.get(b"chdb_result_bytes_read")?,
                result_rows_written: *library.get(b"chdb_result_rows_written")?,
                result_bytes_written: *library.get(b"chdb_result_bytes_written")?,
                destroy_result: *library.get(b"chdb_destroy_query_result")?,
            }
        };
        Ok(Box::leak(Box::new(functions)))
    }

    /// Stops the engine's threads. All connections have to be closed; without that it does nothing.
    pub(crate) fn shut_down(&self) {
        // SAFETY: may be called from any thread at any time.
        unsafe { (self.shutdown)() };
    }

    /// Copies a result out and destroys it.
    ///
    /// # Safety
    /// `result` is null or a result that nobody has destroyed; it is gone afterwards.
    unsafe fn take(&self, result: Handle) -> Result<Answer, EngineError> {
        if result.is_null() {
            return Err(EngineError("the engine gave no result".to_owned()));
        }
        // SAFETY: `result` is alive until it is destroyed in the last line, and so is what its functions return; the
        // buffer has `result_length` bytes, and may be null when that is zero.
        unsafe {
            let answer = match text((self.result_error)(result)) {
                Some(error) => Err(EngineError(error)),
                None => {
                    let (buffer, length) = ((self.result_buffer)(result), (self.result_length)(result));
                    let body = if buffer.is_null() || length == 0 {
                        Vec::new()
                    } else {
                        std::slice::from_raw_parts(buffer.cast::<u8>(), length).to_vec()
                    };
                    Ok(Answer {
                        body,
                        rows_read: (self.result_rows_read)(result),
                        bytes_read: (self.result_bytes_read)(result),
                        rows_written: (self.result_rows_written)(result),
                        bytes_written: (self.result_bytes_written)(result),
                        seconds: (self.result_seconds)(result),
                    })
                }
            };
            (self.destroy_result)(result);
            answer
        }
    }
}

/// A connection to the engine. It stays in one thread (the pointers make it `!Send`), so it runs one statement at a
/// time.
pub(crate) struct Connection {
    chdb: &'static Chdb,
    connection: *mut Handle,
}

impl Connection {
    /// Opens a connection over `path`; the first one starts the engine.
    pub(crate) fn open(chdb: &'static Chdb, arguments: &[CString]) -> Result<Self, EngineError> {
        let mut pointers: Vec<*mut c_char> =
            arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let count =
            c_int::try_from(pointers.len()).map_err(|_| EngineError("too many arguments".to_owned()))?;
        // SAFETY: `pointers` holds `count` texts that end with zero and outlive the call, which does not write to them.
        let connection = unsafe { (chdb.connect)(count, pointers.as_mut_ptr()) };
        // SAFETY: a connection that is not null points to a handle.
        if connection.is_null() || unsafe { *connection }.is_null() {
            return Err(EngineError("the engine does not start, or refuses the connection".to_owned()));
        }
        Ok(Self { chdb, connection })
    }

    fn handle(&self) -> Handle {
        // SAFETY: `connection` was checked in `open`, and is valid until `drop`.
        unsafe { *self.connection }
    }

    /// Runs statements. `format` holds where the text has no FORMAT clause of its own; the parameters are the values
    /// of `{name:Type}`, in the escaped form of tab-separated texts, as over HTTP.
    pub(crate) fn query(
        &self,
        sql: &str,
        format: &str,
        parameters: &[(String, String)],
    ) -> Result<Answer, EngineError> {
        let names: Vec<Text> = parameters.iter().map(|(name, _)| name.as_ptr().cast()).collect();
        let name_lengths: Vec<usize> = parameters.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<Text> = parameters.iter().map(|(_, value)| value.as_ptr().cast()).collect();
        let value_lengths: Vec<usize> = parameters.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: every pointer is passed with its length, in bytes or in elements, and outlives the call; the result
        // is taken once.
        unsafe {
            let result = (self.chdb.query)(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                parameters.len(),
            );
            self.chdb.take(result)
        }
    }

    /// Parses a text without running it; `None` when the engine refuses to.
    pub(crate) fn classify(&self, sql: &str) -> Option<Analysis> {
        /// `CHDB_QUERY_READ_ONLY`.
        const READ_ONLY: u32 = 0;
        let mut raw = RawAnalysis {
            struct_size: u32::try_from(size_of::<RawAnalysis>()).ok()?,
            statement_count: 0,
            flags: 0,
            query_class: u32::MAX,
        };
        // SAFETY: the text has its length, a null database means none, and `raw` has the size that it says.
        let state = unsafe {
            (self.chdb.classify)(self.handle(), sql.as_ptr().cast(), sql.len(), ptr::null(), 0, &raw mut raw)
        };
        (state == 0)
            .then_some(Analysis { statements: raw.statement_count, only_reads: raw.query_class == READ_ONLY })
    }

    /// Inserts data: `sql` is an INSERT without its FORMAT clause, and the chunks are in `format`, cut anywhere. When a
    /// chunk is an error, nothing more is inserted.
    pub(crate) fn insert<'a>(
        &self,
        sql: &str,
        format: &str,
        chunks: impl Iterator<Item = Result<std::borrow::Cow<'a, [u8]>, EngineError>>,
    ) -> Result<Answer, EngineError> {
        // SAFETY: the texts are passed with their lengths. The stream is never null; `stream` destroys it.
        let handle = unsafe {
            (self.chdb.insert)(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
            )
        };
        let stream = InsertStream { chdb: self.chdb, handle };
        stream.error().map_or(Ok(()), Err)?;
        for chunk in chunks {
            let chunk = chunk?;
            // SAFETY: the stream is alive, and the chunk is copied during the call.
            let state = unsafe { (self.chdb.append)(stream.handle, chunk.as_ptr().cast(), chunk.len()) };
            if state != 0 {
                // Why is what the end of the stream says.
                break;
            }
        }
        // SAFETY: the stream is alive; the result is taken once.
        let answer = unsafe { self.chdb.take((self.chdb.done)(stream.handle)) }?;
        stream.error().map_or(Ok(answer), Err)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: opened in `open` and closed only here.
        unsafe { (self.chdb.close)(self.connection) };
    }
}

/// An INSERT under way. Dropping one that was not finished cancels it.
struct InsertStream {
    chdb: &'static Chdb,
    handle: Handle,
}

impl InsertStream {
    fn error(&self) -> Option<EngineError> {
        // SAFETY: the stream is alive, and the text is copied at once.
        unsafe { text((self.chdb.insert_error)(self.handle)) }.map(EngineError)
    }
}

impl Drop for InsertStream {
    fn drop(&mut self) {
        // SAFETY: made in `Connection::insert` and destroyed only here.
        unsafe { (self.chdb.destroy_insert)(self.handle) };
    }
}

/// Copies a text of the library's; `None` for null.
///
/// # Safety
/// `pointer` is null or points to a text that ends with zero and lives for the duration of the call.
unsafe fn text(pointer: Text) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    Some(text.to_string_lossy().trim_end().to_owned())
}
