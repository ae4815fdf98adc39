//! What a key can be made from.

use super::Key;

macro_rules! key_from {
    ($($type:ty),*) => {
        $(impl From<$type> for Key {
            fn from(bytes: $type) -> Self {
                Self::new(bytes)
            }
        })*
    };
}

key_from!(&str, &String, String, &[u8], Vec<u8>, &Vec<u8>);

impl<const N: usize> From<[u8; N]> for Key {
    fn from(bytes: [u8; N]) -> Self {
        Self::new(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Key {
    fn from(bytes: &[u8; N]) -> Self {
        Self::new(bytes)
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self::new(number.to_be_bytes())
    }
}

impl From<usize> for Key {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<u32> for Key {
    fn from(number: u32) -> Self {
        Self::from(u64::from(number))
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        match u64::try_from(number) {
            Ok(number) => Self::from(number),
            // A byte more than a number of 0 or more has: -1 and `u64::MAX` have the same 8 bytes.
            Err(_) => Self::new([b"-".as_slice(), &number.to_be_bytes()].concat()),
        }
    }
}

impl From<i32> for Key {
    fn from(number: i32) -> Self {
        Self::from(i64::from(number))
    }
}
