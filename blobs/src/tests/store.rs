use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{Store, StoreError, digest_of};
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("blobs")).unwrap();
    (dir, store)
}

fn tmp_files(dir: &TempDir) -> usize {
    fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count()
}

#[test]
fn bytes_are_kept_once_and_found_by_digest() {
    let (dir, store) = store();
    let digest = store.put_bytes(b"hello").unwrap();
    let inode = fs::metadata(store.path(&digest)).unwrap().ino();

    assert_eq!(store.put_bytes(b"hello").unwrap(), digest);

    assert_eq!(fs::metadata(store.path(&digest)).unwrap().ino(), inode);
    assert_eq!(store.read(&digest, 5).unwrap(), b"hello");
    assert_eq!(store.size(&digest), Some(5));
    assert!(matches!(store.read(&digest, 4), Err(StoreError::TooLarge { size: 5, .. })));
    let other = digest_of(b"other");
    assert!(
        matches!(store.read(&other, 9), Err(StoreError::Missing { digest }) if digest == other)
    );
    let hex = digest.to_string();
    assert_eq!(store.path(&digest), dir.path().join("blobs").join(&hex[..2]).join(&hex[2..]));
    assert_eq!(tmp_files(&dir), 0);
}

#[test]
fn corrupt_blob_is_moved_aside_and_can_be_put_again() {
    let (_dir, store) = store();
    let digest = store.put_bytes(b"hello").unwrap();
    fs::write(store.path(&digest), b"hellO").unwrap();

    let Err(StoreError::Corrupt { aside, .. }) = store.read(&digest, 9) else { panic!() };

    assert_eq!(fs::read(aside).unwrap(), b"hellO");
    assert!(!store.contains(&digest));
    assert_eq!(store.put_bytes(b"hello").unwrap(), digest);
    assert_eq!(store.verify(&digest).unwrap(), 5);
}

#[test]
fn upload_is_kept_only_under_its_own_digest() {
    let (dir, store) = store();
    let digest = digest_of(b"onetwo");
    let mut writer = store.writer().unwrap();
    writer.write(b"one").unwrap();
    writer.write(b"twO").unwrap();
    assert!(matches!(writer.finish(&digest), Err(StoreError::Mismatch { .. })));
    let mut dropped = store.writer().unwrap();
    dropped.write(b"one").unwrap();
    drop(dropped);
    assert_eq!(tmp_files(&dir), 0);

    let mut writer = store.writer().unwrap();
    writer.write(b"one").unwrap();
    writer.write(b"two").unwrap();
    assert_eq!(writer.finish(&digest).unwrap(), 6);

    assert_eq!(store.read(&digest, 6).unwrap(), b"onetwo");
    assert_eq!(tmp_files(&dir), 0);
}

/// A worker that is killed while it captures does it again: the result must be the same.
#[test]
fn taking_a_file_twice_gives_the_same_and_shares_its_bytes() {
    let (dir, store) = store();
    let path = dir.path().join("model.pkl");
    fs::write(&path, b"model").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

    let first = store.take_file(&path).unwrap();
    let second = store.take_file(&path).unwrap();

    assert_eq!(first, (digest_of(b"model"), 5));
    assert_eq!(second, first);
    let meta = fs::metadata(store.path(&first.0)).unwrap();
    assert_eq!(meta.ino(), fs::metadata(&path).unwrap().ino());
    assert_eq!(meta.mode() & 0o777, 0o644);
}

#[test]
fn files_with_other_names_or_the_executable_bit_are_copied() {
    let (dir, store) = store();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&a, b"linked").unwrap();
    fs::hard_link(&a, &b).unwrap();
    let tool = dir.path().join("tool");
    fs::write(&tool, b"#!/bin/sh").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();

    for path in [&a, &tool] {
        let (digest, _) = store.take_file(path).unwrap();
        let (kept, source) =
            (fs::metadata(store.path(&digest)).unwrap(), fs::metadata(path).unwrap());
        assert_ne!(kept.ino(), source.ino());
        assert_eq!(kept.mode() & 0o777, 0o644);
    }
    assert_eq!(fs::metadata(&tool).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn what_is_no_file_is_named() {
    let (dir, store) = store();
    let link = dir.path().join("link");
    symlink("/etc/passwd", &link).unwrap();
    assert!(matches!(store.put_file(&link), Err(StoreError::NotAFile { path }) if path == link));
    let gone = dir.path().join("gone");
    assert!(matches!(store.put_file(&gone), Err(StoreError::Vanished { path }) if path == gone));
    assert!(matches!(store.put_file(dir.path()), Err(StoreError::NotAFile { .. })));
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    assert!(matches!(store.take_file(&pipe), Err(StoreError::NotAFile { .. })));
}

/// The kernel's files say that they are empty, and are not: as if they grew on the way.
#[test]
fn a_file_that_grows_while_it_is_read_is_named() {
    let (dir, store) = store();
    let path = Path::new("/proc/version");
    for outcome in [store.put_file(path), store.take_file(path)] {
        assert!(matches!(outcome, Err(StoreError::Changed { path: named }) if named == path));
    }
    assert_eq!(tmp_files(&dir), 0);
}

#[test]
fn sweeping_takes_only_what_is_old() {
    let (dir, store) = store();
    let left = dir.path().join("blobs/tmp/left");
    fs::write(&left, b"torn").unwrap();
    let written = fs::metadata(&left).unwrap().modified().unwrap();
    assert_eq!(store.sweep_tmp(SystemTime::UNIX_EPOCH).unwrap(), 0);
    assert_eq!(store.sweep_tmp(written + Duration::from_secs(1)).unwrap(), 1);
    assert!(!left.exists());
}

#[test]
fn writers_of_the_same_blob_do_not_hurt_each_other() {
    let (dir, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..40_u32 {
                    store.put_bytes(&n.to_le_bytes()).unwrap();
                }
            });
        }
    });
    for n in 0..40_u32 {
        assert_eq!(store.read(&digest_of(&n.to_le_bytes()), 4).unwrap(), n.to_le_bytes());
    }
    assert_eq!(tmp_files(&dir), 0);
}
