/// What cannot be encoded, decoded or read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Avro refused.
    #[error("Avro: {0}")]
    Avro(#[from] apache_avro::Error),
    /// An object container file of something else.
    #[error("the file holds no archived records: its schema is another one")]
    OtherSchema,
    /// Above the largest record.
    #[error("the record has {0} bytes, more than 1 MiB")]
    TooLarge(usize),
    /// A key file is missing, unreadable or not an issuer's.
    #[error("key file {path}: {problem}")]
    KeyFile {
        /// The file.
        path: String,
        /// What is wrong, and how to mend it.
        problem: String,
    },
}
