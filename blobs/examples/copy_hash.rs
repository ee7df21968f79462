//! Copies a file while hashing it: the yardstick of row 17 of docs/benchmarks.md.
//! `copy_hash FROM TO`.

use std::{
    fs::File,
    io::{self, Read, Write},
};

/// Bytes copied at a time.
const BLOCK: usize = 1 << 20;

fn main() -> io::Result<()> {
    let mut paths = std::env::args_os().skip(1);
    let mut next = || paths.next().ok_or_else(|| io::Error::other("copy_hash FROM TO"));
    let (mut from, mut to) = (File::open(next()?)?, File::create(next()?)?);
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    loop {
        let len = from.read(&mut block)?;
        if len == 0 {
            break;
        }
        hasher.update(&block[..len]);
        to.write_all(&block[..len])?;
    }
    writeln!(io::stdout(), "{}", hasher.finalize())
}
