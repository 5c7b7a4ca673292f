//! Several texts in one piece of memory: groups, and the values of a claim.
//!
//! A session that is read at each request has as many groups as its owner. Each in memory of its own would be most of what
//! reading it costs.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Serialize, Serializer};

/// A list of texts that cannot be changed but grown. It has two pieces of memory, however long it is, and none while it is
/// empty. Together its texts are shorter than 4 GiB, as all that is read here is bounded far below that.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Texts {
    joined: String,
    /// Where each ends in `joined`.
    ends: Vec<u32>,
}

impl Texts {
    /// An empty list with room for so many texts of so many bytes together.
    pub fn with_capacity(texts: usize, bytes: usize) -> Self {
        Texts { joined: String::with_capacity(bytes), ends: Vec::with_capacity(texts) }
    }

    pub fn push(&mut self, text: &str) {
        self.joined.push_str(text);
        self.ends.push(u32::try_from(self.joined.len()).unwrap_or(u32::MAX));
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all of them together.
    pub fn bytes_len(&self) -> usize {
        self.joined.len()
    }

    /// In the order in which they came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let from = std::mem::replace(&mut start, *end as usize);
            // Every end was the end of a text.
            self.joined.get(from..*end as usize).unwrap_or_default()
        })
    }

    pub fn contains(&self, text: &str) -> bool {
        self.iter().any(|own| own == text)
    }
}

impl<S: AsRef<str>> FromIterator<S> for Texts {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let mut all = Texts::default();
        all.extend(texts);
        all
    }
}

impl<S: AsRef<str>> Extend<S> for Texts {
    fn extend<I: IntoIterator<Item = S>>(&mut self, texts: I) {
        for text in texts {
            self.push(text.as_ref());
        }
    }
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for Texts {
    fn from(texts: [S; N]) -> Self {
        texts.into_iter().collect()
    }
}

impl<S: AsRef<str>> PartialEq<[S]> for Texts {
    fn eq(&self, other: &[S]) -> bool {
        self.iter().eq(other.iter().map(AsRef::as_ref))
    }
}

impl<S: AsRef<str>, const N: usize> PartialEq<[S; N]> for Texts {
    fn eq(&self, other: &[S; N]) -> bool {
        *self == other[..]
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
