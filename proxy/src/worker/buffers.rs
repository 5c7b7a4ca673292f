//! Buffers that go round: what one exchange gives back is what the next one takes.
//!
//! A connection holds a buffer only while it is busy, so a buffer is taken and given back with every request. The one given
//! back last is taken first, because it is still in the processor's cache.

use std::cell::RefCell;

use bytes::BytesMut;

/// Buffers of each kind that wait for a user; what comes above that is freed.
pub(crate) const SPARE_LEN_MAX: usize = 32;
/// A buffer that has grown above this is freed, whatever it is for.
pub(crate) const SPARE_BYTES_MAX: usize = 32 << 10;

/// The spare buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// For reading from clients.
    pub(crate) client: Spare<BytesMut>,
    /// For reading from upstreams.
    pub(crate) upstream: Spare<BytesMut>,
    /// For heads and frames on their way out.
    pub(crate) out: Spare<Vec<u8>>,
}

/// Empty buffers of one kind.
#[derive(Debug)]
pub(crate) struct Spare<B>(RefCell<Vec<B>>);

impl<B> Default for Spare<B> {
    fn default() -> Self {
        Spare(RefCell::default())
    }
}

impl<B: Buffer> Spare<B> {
    /// An empty buffer: one that was given back, or a new one without room.
    pub(crate) fn take(&self) -> B {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Puts an empty buffer in the place of `buffer`, and keeps that one for the next user unless it holds something.
    pub(crate) fn give(&self, buffer: &mut B) {
        let mut spare = self.0.borrow_mut();
        let mut buffer = std::mem::take(buffer);
        if (1..=SPARE_BYTES_MAX).contains(&buffer.room()) && spare.len() < SPARE_LEN_MAX {
            spare.push(buffer);
        }
    }
}

/// What [`Spare`] keeps.
pub(crate) trait Buffer: Default {
    /// Bytes that fit in; zero when the buffer is not empty, and so of no use to anybody else.
    fn room(&mut self) -> usize;
}

impl Buffer for Vec<u8> {
    fn room(&mut self) -> usize {
        if self.is_empty() { self.capacity() } else { 0 }
    }
}

/// What was split off takes its room along, and brings it back when it is dropped. While somebody still holds such a slice
/// only the rest is there.
impl Buffer for BytesMut {
    fn room(&mut self) -> usize {
        if !self.is_empty() {
            return 0;
        }
        let _ = self.try_reclaim(1);
        self.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_given_back_last_is_taken_first() {
        let spare = Spare::<Vec<u8>>::default();
        for room in [100, 200] {
            spare.give(&mut Vec::with_capacity(room));
        }
        assert_eq!(spare.take().capacity(), 200);
        assert_eq!(spare.take().capacity(), 100);
        assert_eq!(spare.take().capacity(), 0);
    }

    #[test]
    fn what_is_full_or_has_grown_is_not_kept() {
        let spare = Spare::<BytesMut>::default();
        spare.give(&mut BytesMut::from(&b"left over"[..]));
        spare.give(&mut BytesMut::with_capacity(SPARE_BYTES_MAX + 1));
        spare.give(&mut BytesMut::new());
        assert!(spare.0.borrow().is_empty());
        spare.give(&mut BytesMut::with_capacity(SPARE_BYTES_MAX));
        assert_eq!(spare.0.borrow().len(), 1);
    }

    #[test]
    fn no_more_than_the_bound_are_kept() {
        let spare = Spare::<Vec<u8>>::default();
        for _ in 0..SPARE_LEN_MAX + 1 {
            spare.give(&mut Vec::with_capacity(1));
        }
        assert_eq!(spare.0.borrow().len(), SPARE_LEN_MAX);
    }

    #[test]
    fn a_buffer_whose_slices_are_gone_is_used_again_in_place() {
        let spare = Spare::<BytesMut>::default();
        let mut buffer = BytesMut::with_capacity(4096);
        let start = buffer.as_ptr();
        for _ in 0..100 {
            buffer.extend_from_slice(&[b'x'; 512]);
            drop(buffer.split().freeze());
            spare.give(&mut buffer);
            buffer = spare.take();
            buffer.reserve(512);
            let offset = buffer.as_ptr() as usize - start as usize;
            assert!(offset < 4096, "it moved to other memory");
        }
    }
}
