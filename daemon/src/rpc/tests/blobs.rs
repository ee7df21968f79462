use super::*;

fn upload(bytes: &[u8], size: usize) -> UploadBlobsRequest {
    UploadBlobsRequest {
        digest: digest_of(bytes).to_string(),
        size_bytes: i64::try_from(size).unwrap(),
        data: Bytes::copy_from_slice(bytes),
    }
}

/// Names of everything in the store of blobs.
fn stored(home: &Home) -> Vec<String> {
    let mut found = vec![];
    let mut dirs = vec![home.blobs()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn blobs_go_up_in_pieces_and_come_down_from_anywhere() {
    let daemon = Daemon::start().await;
    let big: Vec<u8> =
        (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let mut chunks: Vec<_> = big
        .chunks(1 << 20)
        .map(|data| UploadBlobsRequest { data: Bytes::copy_from_slice(data), ..Default::default() })
        .collect();
    chunks[0].digest = digest_of(&big).to_string();
    chunks[0].size_bytes = 3_000_000;
    chunks.extend([upload(b"small", 5), upload(b"", 0), upload(b"small", 5)]);
    let answer = daemon.blobs().upload_blobs(tokio_stream::iter(chunks)).await.unwrap();
    assert_eq!(answer.into_inner().stored, 3, "the second time costs nothing");

    let none = "0".repeat(64);
    let digests = vec![digest_of(&big).to_string(), none.clone(), digest_of(b"").to_string()];
    let missing = daemon.blobs().find_missing(FindMissingRequest { digests }).await.unwrap();
    assert_eq!(missing.into_inner().missing, [none]);

    for (bytes, offset) in [(&big[..], 0), (&big[..], 2_999_000), (b"small", 5), (b"", 0)] {
        let digest = digest_of(bytes).to_string();
        let request = DownloadBlobRequest { digest, offset: i64::try_from(offset).unwrap() };
        let mut stream = daemon.blobs().download_blob(request).await.unwrap().into_inner();
        let (mut got, mut messages) = (vec![], 0);
        while let Some(message) = stream.message().await.unwrap() {
            assert_eq!(message.size_bytes, i64::try_from(bytes.len()).unwrap());
            got.extend_from_slice(&message.data);
            messages += 1;
        }
        assert!(messages > 0 && got == bytes[offset..]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_what_they_claim_leave_nothing() {
    let daemon = Daemon::start().await;
    let mut forged = upload(b"truth", 5);
    forged.data = Bytes::from_static(b"a lie");
    for (bad, expected) in [
        (vec![forged], "BLOB_CORRUPT"),
        (vec![upload(b"longer than said", 3)], "BLOB_CORRUPT"),
        (vec![upload(b"shorter", 30)], "BLOB_CORRUPT"),
        (vec![UploadBlobsRequest::default()], "INVALID_FIELD"),
        (vec![UploadBlobsRequest { digest: "../../x".into(), ..upload(b"x", 1) }], "INVALID_FIELD"),
        (vec![UploadBlobsRequest { size_bytes: -1, ..upload(b"x", 1) }], "INVALID_FIELD"),
        (vec![upload(&vec![0; (1 << 20) + 1], (1 << 20) + 1)], "LIMIT_EXCEEDED"),
    ] {
        let error = daemon.blobs().upload_blobs(tokio_stream::iter(bad)).await.unwrap_err();
        assert_eq!(reason(&error), expected, "{error}");
        assert_eq!(stored(&daemon.home), [""; 0]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_upload_cut_in_the_middle_leaves_nothing() {
    let daemon = Daemon::start().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let chunks = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut blobs = daemon.blobs();
    let call = TaskTracker::new().spawn(async move { blobs.upload_blobs(chunks).await });
    sender.send(upload(b"half", 8)).await.unwrap();
    let begun = async {
        while stored(&daemon.home).is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
    call.abort();
    let gone = async {
        while !stored(&daemon.home).is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn questions_about_blobs_are_checked() {
    let daemon = Daemon::start().await;
    let digests = vec!["0".repeat(64), "short".into()];
    let error = daemon.blobs().find_missing(FindMissingRequest { digests }).await.unwrap_err();
    let details = error.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "digests[1]");
    let digests = vec!["0".repeat(64); 10_001];
    let error = daemon.blobs().find_missing(FindMissingRequest { digests }).await.unwrap_err();
    assert_eq!(reason(&error), "LIMIT_EXCEEDED");
    let request = DownloadBlobRequest { digest: "0".repeat(64), offset: 0 };
    let error = daemon.blobs().download_blob(request).await.unwrap_err();
    assert_eq!((error.code(), reason(&error)), (Code::NotFound, "BLOB_NOT_FOUND".into()));
    daemon.blobs().upload_blobs(tokio_stream::iter([upload(b"small", 5)])).await.unwrap();
    for offset in [-1, 6] {
        let request = DownloadBlobRequest { digest: digest_of(b"small").to_string(), offset };
        let error = daemon.blobs().download_blob(request).await.unwrap_err();
        assert_eq!(reason(&error), "INVALID_FIELD");
    }
    daemon.stop().await;
}
