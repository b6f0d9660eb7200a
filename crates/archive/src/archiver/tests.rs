use fluxori_stream::Range;
use tempfile::TempDir;

use super::*;

const PARTITION: i32 = 3;

fn genesis() -> Digest {
    Digest::of(b"genesis")
}

fn batch(start: i64, count: i64) -> Batch {
    let mut batch = Batch::new(PARTITION, start);
    for offset in start..start + count {
        let value = vec![b'x'; 100];
        batch.push(1_000 + offset, (offset % 3 != 0).then_some(b"acme"), (offset % 5 != 0).then_some(&value));
    }
    batch
}

fn archived(folder: &TempDir, batches: &[Batch]) -> Archive {
    let mut archiver = Archiver::with_file_bytes(folder.path(), genesis(), 5_000).unwrap();
    batches.iter().for_each(|batch| archiver.append(batch).unwrap());
    archiver.finish().unwrap()
}

async fn read(archive: &Archive, start: i64, end: i64) -> Result<Batch, ArchiveError> {
    let mut scan = archive.scan(&[Range { partition: PARTITION, start, end }], 7);
    let mut all = Batch::new(PARTITION, start);
    while let Some(batch) = scan.next().await? {
        all.append(&batch).unwrap();
    }
    Ok(all)
}

fn avro_files(folder: &TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "avro")).collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_was_archived_in_any_number_of_runs_is_read_back_as_it_was() {
    let (once, often) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive = archived(&once, &[batch(0, 400)]);
    for start in 0..40 {
        archived(&often, &[batch(start * 10, 10)]);
    }
    let other = Archive::open(often.path()).unwrap();
    assert_eq!((archive.end(PARTITION), other.end(PARTITION)), (400, 400));
    assert_eq!(archive.digest(PARTITION), other.digest(PARTITION));
    assert_eq!(read(&archive, 0, 400).await.unwrap(), batch(0, 400));
    assert_eq!(read(&other, 123, 321).await.unwrap(), batch(123, 198));
    assert!(archive.files(PARTITION) > 3 && other.files(PARTITION) < 20, "{}", other.files(PARTITION));
    assert_eq!(avro_files(&often).len(), other.files(PARTITION));
    assert!(read(&archive, 400, 500).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_run_that_died_is_gone_on_with_where_the_list_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut archiver = Archiver::with_file_bytes(folder.path(), genesis(), 5_000).unwrap();
    archiver.append(&batch(0, 120)).unwrap();
    let listed = archiver.archive().end(PARTITION);
    assert!((1..120).contains(&listed), "{listed}");
    drop(archiver);
    // It died between giving a file its name and listing it, too.
    fs::write(folder.path().join("partition-00003-000000000050-000000000070.avro"), b"x").unwrap();
    let archive = archived(&folder, &[batch(listed, 130 - listed)]);
    assert_eq!(read(&archive, 0, 130).await.unwrap(), batch(0, 130));
    assert_eq!(avro_files(&folder).len(), archive.files(PARTITION));
}

#[test]
fn a_gap_another_log_and_a_second_writer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    archived(&folder, &[batch(0, 10)]);
    let mut archiver = Archiver::open(folder.path(), genesis()).unwrap();
    let gap = archiver.append(&batch(11, 1));
    assert!(matches!(gap, Err(ArchiveError::NotAdjacent { end: 10, found: 11, .. })), "{gap:?}");
    assert!(matches!(Archiver::open(folder.path(), genesis()), Err(ArchiveError::Busy { .. })));
    drop(archiver);
    let other = Archiver::open(folder.path(), Digest::of(b"other"));
    assert!(matches!(other, Err(ArchiveError::OtherLog { .. })));
    assert!(matches!(Archive::open(Path::new("/nowhere")), Err(ArchiveError::NotThere { .. })));
}

#[tokio::test]
async fn a_damaged_or_exchanged_file_is_never_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archived(&folder, &[batch(0, 120)]);
    let first = avro_files(&folder).into_iter().next().unwrap();
    let whole = fs::read(&first).unwrap();
    // Every byte of a file that is changed is found out.
    for index in (0..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        fs::write(&first, bytes).unwrap();
        let (all, seen) = (read(&archive, 0, 120).await, index);
        // But for words in the header that nobody reads.
        if let Ok(all) = all {
            assert!(index < 1_500 && all == batch(0, 120), "{seen}");
        }
    }
    fs::write(&first, &whole[..whole.len() - 20]).unwrap();
    assert!(matches!(read(&archive, 0, 120).await, Err(ArchiveError::Damaged { .. })));
    // A forged record, well written.
    let mut forged = ArchiveFileWriter::new(Vec::new()).unwrap();
    for record in archive
        .read_segment(PARTITION, &archive.segments(PARTITION)[1], archive.segments(PARTITION)[0].digest, 9)
        .unwrap()
        .iter()
        .flat_map(Batch::iter)
    {
        forged
            .append(&ArchivedRecord {
                partition: PARTITION,
                offset: record.offset,
                append_time_ms: record.append_time_ms + 1,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
            })
            .unwrap();
    }
    fs::write(&first, whole).unwrap();
    fs::write(archive.path(&archive.segments(PARTITION)[1]), forged.finish().unwrap()).unwrap();
    let read = read(&archive, 0, 120).await.unwrap_err().to_string();
    assert!(read.contains("not those that were archived"), "{read}");
}
