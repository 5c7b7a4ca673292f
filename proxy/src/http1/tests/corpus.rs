//! The committed bytes of the fuzz targets, replayed at each run.

use std::path::PathBuf;

use super::*;

/// Every file of one corpus, by name.
pub(super) fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "tests", "fuzz", "corpus", target].iter().collect();
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    files.sort();
    files
}

/// The files that people have named. A run of the fuzzer leaves others.
pub(super) fn committed(target: &str) -> Vec<(String, Vec<u8>)> {
    let named = |name: &str| name.starts_with("accept-") || name.starts_with("refuse-");
    files(target).into_iter().filter(|(name, _)| named(name)).collect()
}

/// A name tells what must come of the bytes: `accept-…` or `refuse-…`. Files with other names are findings of the fuzzer,
/// which only have to do no harm and read the same in one piece and in many.
fn check<Seen: PartialEq + std::fmt::Debug>(target: &str, read: impl Fn(&[&[u8]]) -> Result<Seen, Refused>) {
    let mut told = [0; 2];
    for (name, bytes) in files(target) {
        let whole = read(&[&bytes]);
        let singly: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&singly), whole, "{target}/{name}");
        if name.starts_with("accept-") {
            told[0] += 1;
            assert!(whole.is_ok(), "{target}/{name}: {whole:?}");
        } else if name.starts_with("refuse-") {
            told[1] += 1;
            assert!(whole.is_err(), "{target}/{name}: {whole:?}");
        }
    }
    assert!(told[0] > 0 && told[1] > 0, "{target} has to hold both kinds");
}

#[test]
fn request_heads() {
    check("http1_request_head", read_request);
}

#[test]
fn response_heads() {
    check("http1_response_head", |pieces| read_response(&Method::GET, pieces));
}

#[test]
fn chunked_bodies() {
    check("chunked_body", |pieces| {
        read_body((), HeaderMap::new(), BodyLength::Chunked, BytesMut::new(), pieces.iter())
    });
}
