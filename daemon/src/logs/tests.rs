use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;
use uuid::Uuid;
use windlass_core::{AttemptNumber, StepIndex};

use super::*;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

struct Fixture {
    dir: TempDir,
    logs: Logs,
    key: AttemptKey,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path().to_owned()).unwrap();
        Self { dir, logs, key: key(0) }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.dir.path().join(self.key.run.to_string()).join(format!("0.1.{ending}"))
    }

    /// A daemon that was killed and came back.
    fn reopen(self) -> Self {
        self.logs.close();
        let logs = Logs::open(self.dir.path().to_owned()).unwrap();
        Self { logs, ..self }
    }

    async fn append(&self, stream: Stream, offset: u64, data: &str) -> Result<u64, AppendError> {
        let data = Bytes::copy_from_slice(data.as_bytes());
        let chunk = Chunk { stream, offset, data, time: Timestamp(1), lost: None };
        self.logs.append(self.key, chunk).await?.durable().await
    }

    async fn append_after_loss(&self, offset: u64, bytes: u64) -> Result<u64, AppendError> {
        let lost = Some(Lost { bytes, reason: "the disk\nwas full".into() });
        let data = Bytes::from_static(b"after");
        let chunk = Chunk { stream: Stream::Stdout, offset, data, time: Timestamp(1), lost };
        self.logs.append(self.key, chunk).await?.durable().await
    }

    /// Everything that a reader of the ended attempt is given.
    async fn told(&self, only: Option<Stream>, offset: i64) -> Vec<Item> {
        let mut tail = self.logs.tail(self.key, only, offset);
        tail.ended();
        let mut items = vec![];
        while let Some(item) = next(&mut tail).await {
            items.push(item);
        }
        items
    }
}

fn key(step: u32) -> AttemptKey {
    AttemptKey { run: RunId(Uuid::from_u128(7)), step: StepIndex(step), attempt: AttemptNumber(1) }
}

/// What comes next, waiting for it.
async fn next(tail: &mut Tail) -> Option<Item> {
    let wait = async {
        loop {
            match tail.read().await.unwrap() {
                Step::Item(item) => return Some(item),
                Step::End => return None,
                Step::Wait => tail.changed().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

fn text(items: &[Item]) -> Vec<(Stream, u64, String)> {
    let chunk = |item: &Item| match item {
        Item::Chunk { stream, offset, data, .. } => {
            (*stream, *offset, String::from_utf8(data.to_vec()).unwrap())
        }
        Item::Gap { stream, offset, length, reason } => {
            (*stream, *offset, format!("<{length} lost: {reason}>"))
        }
    };
    items.iter().map(chunk).collect()
}

use Stream::{Stderr, Stdout, System};

#[tokio::test]
async fn bytes_sent_twice_are_kept_once_and_a_hole_is_refused() {
    let log = Fixture::new();
    assert_eq!(log.append(Stdout, 0, "hello ").await.unwrap(), 6);
    assert_eq!(log.append(Stdout, 0, "hello ").await.unwrap(), 6);
    assert_eq!(log.append(Stdout, 3, "lo world").await.unwrap(), 11);
    let hole = log.append(Stdout, 12, "x").await.unwrap_err();
    assert!(matches!(hole, AppendError::Hole { durable: 11 }), "{hole}");
    assert_eq!(fs::read(log.path("stdout")).unwrap(), b"hello world");
    assert!(!log.path("stderr").exists(), "a file is made at its first byte");
}

#[tokio::test]
async fn streams_come_interleaved_as_they_were_written() {
    let log = Fixture::new();
    log.append(System, 0, "building\n").await.unwrap();
    log.append(Stdout, 0, "a").await.unwrap();
    log.append(Stdout, 1, "b").await.unwrap();
    log.append(Stderr, 0, "oops").await.unwrap();
    log.append(Stdout, 2, "c").await.unwrap();
    let all = [
        (System, 0, "building\n".to_owned()),
        (Stdout, 0, "ab".to_owned()),
        (Stderr, 0, "oops".to_owned()),
        (Stdout, 2, "c".to_owned()),
    ];
    assert_eq!(text(&log.told(None, 0).await), all);
    assert_eq!(text(&log.told(Some(Stdout), 1).await), [(Stdout, 1, "bc".to_owned())]);
    assert_eq!(text(&log.told(Some(Stdout), -1).await), [(Stdout, 2, "c".to_owned())]);
    assert_eq!(text(&log.told(Some(Stderr), 4).await), []);
}

#[tokio::test]
async fn a_loss_is_told_and_its_bytes_are_never_made_up() {
    let log = Fixture::new();
    log.append(Stdout, 0, "before").await.unwrap();
    assert!(log.append_after_loss(106, 99).await.is_err(), "less declared than is missing");
    assert_eq!(log.append_after_loss(106, 100).await.unwrap(), 111);
    let told = [
        (Stdout, 0, "before".to_owned()),
        (Stdout, 6, "<100 lost: the disk was full>".to_owned()),
        (Stdout, 106, "after".to_owned()),
    ];
    assert_eq!(text(&log.told(None, 0).await), told);

    let page = log.logs.read(log.key, Stdout, 0, 1000).await.unwrap();
    assert_eq!((page.offset, &page.data[..], page.size), (0, &b"before"[..], 111));
    let page = log.logs.read(log.key, Stdout, 6, 1000).await.unwrap();
    assert_eq!((page.offset, &page.data[..]), (106, &b"after"[..]));
}

#[tokio::test]
async fn pages_are_read_from_either_end() {
    let log = Fixture::new();
    log.append(Stdout, 0, "0123456789").await.unwrap();
    for (offset, max, expected) in
        [(0, 4, "0123"), (8, 4, "89"), (-3, 99, "789"), (-99, 2, "01"), (10, 5, ""), (99, 5, "")]
    {
        let page = log.logs.read(log.key, Stdout, offset, max).await.unwrap();
        assert_eq!((&page.data[..], page.size), (expected.as_bytes(), 10), "{offset}");
    }
    let none = log.logs.read(log.key, Stderr, -5, 10).await.unwrap();
    assert_eq!((none.data.len(), none.size), (0, 0));
}

#[tokio::test]
async fn a_follower_sees_bytes_as_they_come_and_leaves_when_sealed() {
    let log = Fixture::new();
    let mut tail = log.logs.tail(log.key, None, 0);
    assert!(matches!(tail.read().await.unwrap(), Step::Wait));
    for (offset, line) in [(0, "one\n"), (4, "two\n")] {
        log.append(Stdout, offset, line).await.unwrap();
        let item = next(&mut tail).await.unwrap();
        assert_eq!(text(&[item]), [(Stdout, offset, line.to_owned())]);
    }
    // The last bytes overtake nobody: sealed only once the sizes reported are there.
    log.logs.seal(log.key, [8, 0, 3]);
    assert!(matches!(tail.read().await.unwrap(), Step::Wait));
    log.append(System, 0, "end").await.unwrap();
    assert_eq!(text(&[next(&mut tail).await.unwrap()]), [(System, 0, "end".to_owned())]);
    assert_eq!(next(&mut tail).await, None);
    assert_eq!(tail.position(), 11);
}

#[tokio::test]
async fn an_attempt_that_wrote_nothing_ends_its_followers() {
    let log = Fixture::new();
    let mut tail = log.logs.tail(log.key, Some(Stdout), 0);
    log.logs.seal(log.key, [0; 3]);
    assert_eq!(next(&mut tail).await, None);
    assert_eq!(fs::read_dir(log.dir.path()).unwrap().count(), 0, "and has no files");
}

#[tokio::test]
async fn what_a_crash_left_undone_is_made_good() {
    let mut log = Fixture::new();
    log.append(Stdout, 0, "first ").await.unwrap();
    log.append(Stderr, 0, "err").await.unwrap();
    // Killed between data and index, in the middle of a record.
    log.logs.close();
    fs::write(log.path("stdout"), b"first second ").unwrap();
    let index = fs::read(log.path("index")).unwrap();
    fs::write(log.path("index"), &index[..index.len() - 5]).unwrap();

    log = log.reopen();
    let told = text(&log.told(None, 0).await);
    assert_eq!(
        told,
        [(Stdout, 0, "first ".into()), (Stdout, 6, "second ".into()), (Stderr, 0, "err".into())]
    );

    assert_eq!(log.append(Stdout, 6, "second third").await.unwrap(), 18);
    let told = text(&log.told(None, 0).await);
    let all = [(Stdout, 0, "first second "), (Stderr, 0, "err"), (Stdout, 13, "third")];
    assert_eq!(told, all.map(|(stream, offset, text)| (stream, offset, text.to_owned())));
    assert_eq!(fs::metadata(log.path("index")).unwrap().len() % 32, 0);
}

#[tokio::test]
async fn an_index_ahead_of_its_data_repeats_nothing() {
    let mut log = Fixture::new();
    log.append(Stdout, 0, "0123456789").await.unwrap();
    log.logs.close();
    fs::OpenOptions::new().write(true).open(log.path("stdout")).unwrap().set_len(4).unwrap();
    log = log.reopen();
    assert_eq!(log.append(Stdout, 0, "0123abc").await.unwrap(), 7);
    let told: String =
        text(&log.told(None, 0).await).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(told, "0123abc");
}

#[tokio::test]
async fn more_attempts_than_open_files_lose_nothing() {
    let log = Fixture::new();
    for round in 0..3_u64 {
        for step in 0..100 {
            let data = Bytes::from(format!("{round}"));
            let chunk =
                Chunk { stream: Stdout, offset: round, data, time: Timestamp(1), lost: None };
            let kept = log.logs.append(key(step), chunk).await.unwrap().durable().await.unwrap();
            assert_eq!(kept, round + 1);
        }
    }
    let open = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    assert!(open.filter(|path| path.starts_with(log.dir.path())).count() <= 256);
    let page = log.logs.read(key(42), Stdout, 0, 10).await.unwrap();
    assert_eq!(&page.data[..], b"012");
}

#[tokio::test]
async fn a_deleted_run_leaves_nothing() {
    let log = Fixture::new();
    log.append(Stdout, 0, "x").await.unwrap();
    log.logs.delete_run(log.key.run).await.unwrap();
    log.logs.delete_run(log.key.run).await.unwrap();
    assert_eq!(fs::read_dir(log.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn appends_after_the_end_of_the_writers_are_refused() {
    let log = Fixture::new();
    let appending = log.append(Stdout, 0, "x").await;
    log.logs.close();
    appending.unwrap();
    assert!(matches!(log.append(Stdout, 1, "y").await, Err(AppendError::Closed)));
}

#[tokio::test]
async fn what_waits_to_be_written_is_bounded() {
    let log = Fixture::new();
    let mut waiting = vec![];
    for mebibyte in 0..64_u64 {
        let data = Bytes::from(vec![b'x'; 1 << 20]);
        let offset = mebibyte << 20;
        let chunk = Chunk { stream: Stdout, offset, data, time: Timestamp(1), lost: None };
        waiting.push(log.logs.append(log.key, chunk).await.unwrap());
        let free = log.logs.inner.space.available_permits();
        assert!(free <= PERMITS);
    }
    for (kept, appending) in (1_u64..).zip(waiting) {
        assert_eq!(appending.durable().await.unwrap(), kept << 20);
    }
    assert_eq!(log.logs.inner.space.available_permits(), PERMITS);
}

/// `cargo test --release -p windlass-daemon throughput -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn throughput_of_appends_and_of_a_reader() {
    const CHUNK: usize = 256 << 10;
    const CHUNKS: u64 = 800;
    let log = Fixture::new();
    let data = Bytes::from(vec![b'x'; CHUNK]);
    for pass in 0..3 {
        let key = key(pass);
        let begin = std::time::Instant::now();
        let mut last = None;
        for number in 0..CHUNKS {
            let offset = number * u64::try_from(CHUNK).unwrap();
            let data = data.clone();
            let chunk = Chunk { stream: Stdout, offset, data, time: Timestamp(1), lost: None };
            last = Some(log.logs.append(key, chunk).await.unwrap());
        }
        let size = last.unwrap().durable().await.unwrap();
        let wrote = begin.elapsed();
        let begin = std::time::Instant::now();
        let mut tail = log.logs.tail(key, None, 0);
        tail.ended();
        while next(&mut tail).await.is_some() {}
        let read = begin.elapsed();
        assert_eq!(tail.position(), size);
        println!("{} MiB: appended in {wrote:?}, read in {read:?}", size >> 20);
    }
}
