//! The hash that `htpasswd -m` makes: a thousand rounds of MD5, as Apache's documentation of `apr_md5_encode` has them.
//! It is weak, and it is what many files hold.

use md5::{Digest, Md5};

/// The 22 characters after the salt.
pub(super) fn digest(password: &[u8], salt: &[u8]) -> String {
    let mut inner = Md5::new();
    for part in [password, salt, password] {
        inner.update(part);
    }
    let inner = inner.finalize();

    let mut outer = Md5::new();
    for part in [password, b"$apr1$", salt] {
        outer.update(part);
    }
    for at in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - at).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        // The lowest bit chooses between a zero byte and the first byte of the password.
        if bits & 1 == 1 {
            outer.update([0]);
        } else {
            outer.update(&password[..1]);
        }
        bits >>= 1;
    }
    let mut last = outer.finalize();

    for round in 0..ROUNDS {
        let mut hash = Md5::new();
        if round % 2 == 1 {
            hash.update(password);
        } else {
            hash.update(last);
        }
        if round % 3 != 0 {
            hash.update(salt);
        }
        if round % 7 != 0 {
            hash.update(password);
        }
        if round % 2 == 1 {
            hash.update(last);
        } else {
            hash.update(password);
        }
        last = hash.finalize();
    }

    let mut text = String::with_capacity(22);
    for [high, middle, low] in ORDER {
        let group = (u32::from(last[high]) << 16) | (u32::from(last[middle]) << 8) | u32::from(last[low]);
        push(group, 4, &mut text);
    }
    push(u32::from(last[11]), 2, &mut text);
    text
}

/// The lowest six bits first.
fn push(mut group: u32, characters: usize, text: &mut String) {
    for _ in 0..characters {
        text.push(char::from(ALPHABET[(group & 0x3f) as usize]));
        group >>= 6;
    }
}

const ROUNDS: usize = 1000;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Which bytes of the hash go together.
const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
