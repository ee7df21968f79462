//! Figures, not promises: `cargo test --release -p windlass-blobs timing -- --ignored --nocapture`.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Store,
    snapshot::{Options, take},
};

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut figures: Vec<Duration>) -> Duration {
    figures.sort();
    figures[figures.len() / 2]
}

fn copy_while_hashing(from: &Path, to: &Path) {
    let (mut from, mut to) = (fs::File::open(from).unwrap(), fs::File::create(to).unwrap());
    let (mut hasher, mut block) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        let read = from.read(&mut block).unwrap();
        if read == 0 {
            break;
        }
        hasher.update(&block[..read]);
        to.write_all(&block[..read]).unwrap();
    }
}

#[test]
#[ignore = "prints figures"]
fn timing_of_a_large_artifact() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(&dir.path().join("blobs")).unwrap();
    let artifact = dir.path().join("artifact");
    let (mut bare, mut taken, mut put) = (vec![], vec![], vec![]);
    for round in 0..5_u8 {
        let mut file = fs::File::create(&artifact).unwrap();
        for _ in 0..1024 {
            file.write_all(&vec![round; 1 << 20]).unwrap();
        }
        let copy = dir.path().join("copy");
        bare.push(timed(|| copy_while_hashing(&artifact, &copy)));
        fs::remove_file(&copy).unwrap();
        put.push(timed(|| {
            let (digest, _) = store.put_file(&artifact).unwrap();
            fs::remove_file(store.path(&digest)).unwrap();
        }));
        taken.push(timed(|| store.take_file(&artifact).unwrap()));
        let (digest, _) = store.take_file(&artifact).unwrap();
        fs::remove_file(store.path(&digest)).unwrap();
        fs::remove_file(&artifact).unwrap();
    }
    let (bare, taken, put) = (median(bare), median(taken), median(put));
    println!("1 GiB: copy while hashing {bare:?}, put {put:?}, take {taken:?}");
}

#[test]
#[ignore = "prints figures"]
fn timing_of_small_files() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(&dir.path().join("blobs")).unwrap();
    let put = (0..300_u32).map(|n| timed(|| store.put_bytes(&n.to_le_bytes()).unwrap()));
    println!("put of a small blob {:?}", median(put.collect()));

    let project = dir.path().join("project");
    for n in 0..200 {
        let path = project.join(format!("pkg{}/module{n}.py", n % 12));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("# {n}\n").repeat(n * 4)).unwrap();
    }
    fs::write(project.join(".gitignore"), "*.pyc\ndata/\n/out\n").unwrap();
    let options = Options { cache: Some(dir.path().join("cache")), ..Options::default() };
    println!("first snapshot of 200 files {:?}", timed(|| take(&project, &options).unwrap()));
    while !dir.path().join("cache").exists() {
        take(&project, &options).unwrap();
    }
    let again = (0..50).map(|_| timed(|| take(&project, &options).unwrap().tree.digest()));
    let again: Vec<_> = again.collect();
    println!(
        "unchanged, with its digest {:?}, least {:?}",
        median(again.clone()),
        again.iter().min().unwrap()
    );
}
