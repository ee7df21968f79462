use super::*;

#[tokio::test]
async fn a_follower_waits_for_the_attempt_sees_bytes_at_once_and_is_told_the_end() {
    let daemon = Daemon::start().await;
    let mut tail = daemon.tail(0, true).await;
    daemon.engine.change(|state| state.attempts.push(false));
    daemon.append(1, Stream::Stdout, 0, "one\n").await;
    assert_eq!(chunk(next(&mut tail).await), (1, 0, "one\n".into()));
    daemon.append(1, Stream::Stderr, 0, "oops\n").await;
    assert_eq!(chunk(next(&mut tail).await), (2, 0, "oops\n".into()));
    daemon.append(1, Stream::Stdout, 4, "two\n").await;
    daemon.engine.change(|state| state.attempts[0] = true);
    daemon.logs.seal(key(1), [8, 5, 0]);
    assert_eq!(chunk(next(&mut tail).await), (1, 4, "two\n".into()));
    assert!(matches!(next(&mut tail).await, Some(Item::End(end)) if end.size_bytes == 13));
    assert!(next(&mut tail).await.is_none());

    // Who comes later is told the same, of the last attempt or of the one that is named.
    for attempt in [0, 1] {
        let mut tail = daemon.tail(attempt, true).await;
        assert_eq!(chunk(next(&mut tail).await), (1, 0, "one\n".into()));
        assert_eq!(chunk(next(&mut tail).await), (2, 0, "oops\n".into()));
        assert_eq!(chunk(next(&mut tail).await), (1, 4, "two\n".into()));
        assert!(matches!(next(&mut tail).await, Some(Item::End(_))));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_says_whether_more_can_come() {
    let daemon = Daemon::start().await;
    daemon.engine.change(|state| state.attempts.push(false));
    daemon.append(1, Stream::Stdout, 0, "0123456789").await;
    let read = |offset, stream| {
        let request = ReadLogsRequest { attempt: Some(named(1)), stream, offset, max_bytes: 4 };
        let mut logs = daemon.log_service();
        async move { logs.read_logs(request).await.map(tonic::Response::into_inner) }
    };
    let page = read(-3, LogStream::Stdout.into()).await.unwrap();
    assert_eq!((&page.data[..], page.offset, page.next_offset), (&b"789"[..], 7, 10));
    assert_eq!((page.size_bytes, page.sealed), (10, false));
    daemon.engine.change(|state| state.attempts[0] = true);
    assert!(read(0, LogStream::Stderr.into()).await.unwrap().sealed);
    assert_eq!(reason(&read(0, 0).await.unwrap_err()), "INVALID_FIELD");
    assert_eq!(reason(&read(0, 9).await.unwrap_err()), "INVALID_FIELD");
    daemon.stop().await;
}

#[tokio::test]
async fn requests_for_logs_are_checked() {
    let daemon = Daemon::start().await;
    let tail = |attempt, stream, offset| {
        let mut logs = daemon.log_service();
        let request = TailLogsRequest { attempt, stream, offset, follow: false };
        async move { reason(&logs.tail_logs(request).await.unwrap_err()) }
    };
    assert_eq!(tail(None, 0, 0).await, "INVALID_FIELD");
    assert_eq!(tail(Some(named(0)), 0, 5).await, "INVALID_FIELD");
    assert_eq!(tail(Some(named(3)), 0, 0).await, "ATTEMPT_NOT_FOUND");
    let no_step = AttemptRef { step: String::new(), ..named(0) };
    assert_eq!(tail(Some(no_step), 0, 0).await, "INVALID_FIELD");
    daemon.stop().await;
}

#[tokio::test]
async fn a_stuck_follower_stops_nobody() {
    let daemon = Daemon::start().await;
    daemon.engine.change(|state| state.attempts.push(false));
    let stuck = daemon.tail(1, true).await;
    let line = "x".repeat(1 << 20);
    for mebibyte in 0..32 {
        let write = daemon.append(1, Stream::Stdout, mebibyte << 20, &line);
        tokio::time::timeout(PATIENCE, write).await.unwrap();
    }
    let request = ReadLogsRequest {
        attempt: Some(named(1)),
        stream: LogStream::Stdout.into(),
        offset: -1,
        max_bytes: 1,
    };
    let page = daemon.log_service().read_logs(request).await.unwrap().into_inner();
    assert_eq!(page.size_bytes, 32 << 20);
    drop(stuck);
    daemon.stop().await;
}

#[tokio::test]
async fn metrics_are_told_once_each_until_the_attempt_ends() {
    let daemon = Daemon::start().await;
    let request = WatchMetricsRequest { attempt: Some(named(0)), after_sequence: 1, follow: true };
    let mut stream = daemon.log_service().watch_metrics(request).await.unwrap().into_inner();
    let point = |sequence| MetricPoint { sequence, name: "loss".into(), ..Default::default() };
    daemon.engine.change(|state| {
        state.attempts.push(false);
        state.points = vec![point(1), point(2)];
    });
    let mut seen = vec![];
    for (sequence, ended) in [(3, false), (4, true)] {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap();
        seen.extend(message.unwrap().points.iter().map(|point| point.sequence));
        daemon.engine.change(|state| {
            state.points.push(point(sequence));
            state.attempts[0] = ended;
        });
    }
    while let Some(message) = stream.message().await.unwrap() {
        seen.extend(message.points.iter().map(|point| point.sequence));
    }
    assert_eq!(seen, [2, 3, 4]);
    daemon.stop().await;
}

/// Kilobytes of memory that this process has in RAM.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// `cargo test --release -p windlass-daemon over_the_socket -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn followers_over_the_socket_measured() {
    const BLOCK: u64 = 256 << 10;
    const BLOCKS: u64 = 800;
    let daemon = Daemon::start().await;
    daemon.engine.change(|state| state.attempts.push(false));
    let mut stuck = daemon.tail(1, true).await;
    let before = resident();
    let line = "x".repeat(usize::try_from(BLOCK).unwrap());
    let data = Bytes::from(line);
    let begin = std::time::Instant::now();
    let mut last = None;
    for block in 0..BLOCKS {
        let offset = block * BLOCK;
        let data = data.clone();
        let chunk = Chunk { stream: Stream::Stdout, offset, data, time: Timestamp(1), lost: None };
        last = Some(daemon.logs.append(key(1), chunk).await.unwrap());
    }
    last.unwrap().durable().await.unwrap();
    println!("200 MiB appended beside a stuck follower in {:?}", begin.elapsed());
    println!("memory grew by {} KiB, both ends", resident() - before);
    let (begin, mut got) = (std::time::Instant::now(), 0);
    while got < BLOCK * BLOCKS {
        let (_, _, text) = chunk(next(&mut stuck).await);
        got += u64::try_from(text.len()).unwrap();
    }
    println!("followed in {:?}, memory +{} KiB", begin.elapsed(), resident() - before);
    let mut waits = vec![];
    for line in 0..1_000 {
        let begin = std::time::Instant::now();
        daemon.append(1, Stream::Stdout, BLOCK * BLOCKS + line, "\n").await;
        chunk(next(&mut stuck).await);
        waits.push(begin.elapsed());
    }
    waits.sort();
    println!("a line written and shown: median {:?}, p99 {:?}", waits[500], waits[990]);
    daemon.stop().await;
}
