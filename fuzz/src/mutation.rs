//! What is done to the bytes of a store, and what must hold of it afterwards.

use std::sync::{Arc, OnceLock};

use arbitrary::{Arbitrary, Result, Unstructured};
use milepost::MemoryDisk;
use milepost::testing::hostile::Spot;

use crate::pages::{PAGE_BYTES, Pages};
use crate::questions::{Answers, ask, first_wrong, is_honest, options, sample};

/// Some mutations, and how the store is opened then.
#[derive(Debug, Clone)]
pub struct Mutations {
    hits: Vec<Hit>,
    /// Makes the checksums of the pages hold again.
    fixes_pages: bool,
    /// Says in the header that the last holder crashed.
    is_unclean: bool,
    verifies: bool,
}

impl<'a> Arbitrary<'a> for Mutations {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let [fixes_pages, is_unclean, verifies] = bytes.arbitrary()?;
        let mut hits = Vec::new();
        while !bytes.is_empty() && hits.len() < HITS_MAX {
            hits.push(bytes.arbitrary()?);
        }
        Ok(Self { hits, fixes_pages, is_unclean, verifies })
    }
}

#[derive(Debug, Clone, Arbitrary)]
enum Hit {
    Byte {
        at: u32,
        xor: u8,
    },
    Header {
        at: u16,
        value: u8,
    },
    /// In what stands in front of keys and values: the kind, the count, the ends.
    PageHead {
        page: u8,
        at: u8,
        value: u8,
    },
    Number {
        page: u8,
        at: u16,
        value: u32,
    },
    Row {
        nth: u8,
        at: u16,
        value: u8,
    },
    /// The same, and the row's own checksum holds again: bytes that nobody wrote, and nobody can tell.
    Reseal {
        nth: u8,
        at: u16,
        bytes: [u8; 8],
    },
    Zero {
        page: u8,
    },
    Copy {
        from: u8,
        to: u8,
    },
    Cut {
        len: u32,
    },
    Extend {
        pages: u8,
    },
}

const HITS_MAX: usize = 8;

struct Whole {
    image: Vec<u8>,
    pages: Pages,
    rows: Vec<Spot>,
    truth: Answers,
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let image = sample();
        let store = options().open_on(Arc::new(MemoryDisk::from_bytes(image.clone()))).unwrap();
        Whole { pages: Pages::of(&image), rows: Spot::all(&image), truth: ask(&store), image }
    })
}

/// Opens a mutated store and asks it everything. Whatever comes of it, nothing panics and every error
/// says what is wrong; and as long as nobody has made checksums hold, no answer is wrong.
pub fn play(mutations: &Mutations) {
    let whole = whole();
    let mut image = whole.image.clone();
    for hit in &mutations.hits {
        hit.apply(whole, &mut image);
    }
    if mutations.fixes_pages {
        whole.pages.fix_up(&mut image);
    }
    if mutations.is_unclean
        && let Some(flags) = image.get_mut(9)
    {
        *flags |= 2;
    }
    // Whoever makes checksums hold can lie, and whoever does not look is not told. A crash with one
    // fsync a commit leaves a newest commit that cannot be told from one that was cut short.
    let lies = mutations.fixes_pages
        || !mutations.verifies
        || mutations.is_unclean
        || mutations.hits.iter().any(|hit| matches!(hit, Hit::Reseal { .. }));
    let verify_bytes = if mutations.verifies { 1 << 30 } else { 0 };
    let disk = Arc::new(MemoryDisk::from_bytes(image.clone()));
    let store = match options().verify_on_open_bytes(verify_bytes).open_on(disk.clone()) {
        Ok(store) => store,
        Err(error) => {
            assert!(is_honest(error.kind()), "{error}");
            assert!(disk.to_bytes() == image, "a refused file was changed: {error}");
            return;
        }
    };
    let said = ask(&store);
    let _ = store.verify();
    for answer in said.values() {
        assert!(!answer.as_ref().is_err_and(|kind| !is_honest(*kind)), "{answer:?}");
    }
    if !lies {
        assert_eq!(first_wrong(&whole.truth, &said), None);
    }
}

impl Hit {
    fn apply(&self, whole: &Whole, image: &mut Vec<u8>) {
        let page = |nth: u8| whole.pages.start_of(usize::from(nth));
        let row = |nth: u8| &whole.rows[usize::from(nth) % whole.rows.len()];
        match *self {
            Self::Byte { at, xor } => {
                let at = at as usize % image.len().max(1);
                let byte = image.get(at).copied().unwrap_or(0);
                put(image, at, &[xor ^ byte]);
            }
            Self::Header { at, value } => put(image, usize::from(at % 320), &[value]),
            Self::PageHead { page: nth, at, value } => {
                put(image, page(nth) + usize::from(at), &[value]);
            }
            Self::Number { page: nth, at, value } => {
                put(image, page(nth) + usize::from(at) % PAGE_BYTES, &value.to_le_bytes());
            }
            Self::Row { nth, at, value } => {
                let row = row(nth);
                put(image, row.at.start + usize::from(at) % row.at.len(), &[value]);
            }
            Self::Reseal { nth, at, bytes } => row(nth).reseal(image, |payload| {
                let at = usize::from(at) % payload.len().max(1);
                put(payload, at, &bytes);
            }),
            Self::Zero { page: nth } => put(image, page(nth), &[0; PAGE_BYTES]),
            Self::Copy { from, to } => {
                let from = page(from);
                let bytes = image.get(from..from + PAGE_BYTES).unwrap_or_default().to_vec();
                put(image, page(to), &bytes);
            }
            Self::Cut { len } => image.truncate(len as usize % (image.len() + 1)),
            Self::Extend { pages } => {
                image.resize(image.len() + usize::from(pages) * PAGE_BYTES, 0);
            }
        }
    }
}

/// As much of the bytes as has room.
fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in image.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}
