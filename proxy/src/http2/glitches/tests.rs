use proptest::prelude::*;

use super::*;

const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let head = u32::try_from(length).expect("a length").to_be_bytes();
    [&head[1..], &[kind, flags, 0, 0, 0, 1], &vec![0; length]].concat()
}

#[test]
fn all_but_data_with_something_in_it_is_a_glitch() {
    let mut heads = FrameHeads::default();
    assert_eq!(heads.pass(PREFACE), 0);
    for (kind, flags, length, glitches) in [
        (DATA, 0, 1, 0),
        (DATA, 0, 16_384, 0),
        (DATA, END_STREAM, 0, 0),
        (DATA, 0, 0, 1),
        (1, 5, 40, 1),
        (2, 0, 5, 1),
        (3, 0, 4, 1),
        (4, 0, 6, 1),
        (6, 0, 8, 1),
        (8, 0, 4, 1),
        (9, 4, 0, 1),
        (0xee, 0xff, 100, 1),
    ] {
        assert_eq!(heads.pass(&frame(kind, flags, length)), glitches, "kind {kind}, {length} bytes");
    }
}

#[test]
fn work_and_time_forgive_until_it_is_too_late() {
    let glitches = Glitches::since(1_000);
    glitches.add(GLITCHES_TOLERATED);
    assert!(!glitches.are_many());
    glitches.add(1);
    assert!(glitches.are_many() && !glitches.are_too_many());
    glitches.answer_ended();
    glitches.answer_moved(10 << 10);
    assert_eq!(glitches.count.get(), GLITCHES_TOLERATED + 1 - FORGIVEN_PER_ANSWER - FORGIVEN_PER_PIECE - 10);
    // Less than one is not lost, it is kept for the next time.
    let before = glitches.count.get();
    for now_ms in 1_001..=2_000 {
        glitches.pass_time(now_ms);
    }
    assert_eq!(glitches.count.get(), before - FORGIVEN_PER_SECOND as u32);
    glitches.pass_time(u64::MAX / 1_000);
    assert_eq!(glitches.count.get(), 0);

    glitches.add(GLITCHES_MAX);
    assert!(!glitches.are_too_many());
    glitches.add(1);
    glitches.answer_moved(1 << 30);
    assert!(glitches.are_too_many());
}

proptest! {
    #[test]
    fn however_the_bytes_come_the_count_is_the_same(
        frames in prop::collection::vec((0_u8..12, 0_u8..4, 0_usize..40), 0..30),
        cuts in prop::collection::vec(1_usize..50, 1..200),
    ) {
        let mut bytes = PREFACE.to_vec();
        let mut wanted = 0;
        for (kind, flags, length) in frames {
            bytes.extend(frame(kind, flags, length));
            wanted += u32::from(kind != DATA || (length == 0 && flags & END_STREAM == 0));
        }
        let mut heads = FrameHeads::default();
        let mut counted = 0;
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            counted += heads.pass(piece);
            rest = after;
        }
        prop_assert_eq!(counted, wanted);
    }
}
