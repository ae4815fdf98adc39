//! Three releases of a program, and a stranger. Each has one type for all its values, and each type
//! holds a price, which does not come back from all its bytes.

use std::cell::Cell;
use std::fmt::Debug;

use milepost::{Migrations, Versioned};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Price(u64);

impl Default for Price {
    fn default() -> Self {
        Self(1)
    }
}

/// Whether a price comes back as it was written.
pub(super) fn comes_back(price: u64) -> bool {
    !matches!(price % 16, 3 | 5 | 7)
}

thread_local! {
    /// A price that cannot be read now, and whether `Deserialize` panics over it or refuses it.
    static UNREADABLE: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
}

/// Does this while one price, which was readable when it was written, cannot be read.
pub(super) fn unreadable<T>(price: Option<u64>, panics: bool, work: impl FnOnce() -> T) -> T {
    UNREADABLE.set(price.map(|price| (price, panics)));
    let done = work();
    UNREADABLE.set(None);
    done
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let price = u64::deserialize(from)?;
        match UNREADABLE.get() {
            Some((unreadable, true)) if unreadable == price => panic!("no such currency"),
            Some((unreadable, false)) if unreadable == price => {
                return Err(D::Error::custom("no such currency"));
            }
            _ => {}
        }
        match price % 16 {
            3 => Err(D::Error::custom("it is no price")),
            5 => panic!("it is no price"),
            7 => Ok(Self(price + 1)),
            _ => Ok(Self(price)),
        }
    }
}

/// One release: its type, and how it becomes that of the release before.
pub(super) trait Release: 'static {
    type Order: Versioned
        + Serialize
        + DeserializeOwned
        + Default
        + Clone
        + Debug
        + PartialEq
        + 'static;

    fn order(qty: u64, price: u64) -> Self::Order;

    /// Its quantity and its price.
    fn facts(order: &Self::Order) -> (u64, u64);

    fn migrations() -> Migrations;
}

macro_rules! release {
    ($name:ident, $module:ident, $version:literal, { $($field:ident: $type:ty),* }, $migrations:expr) => {
        mod $module {
            use super::*;

            #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
            pub(in super::super) struct Order { $(pub(in super::super) $field: $type),* }

            impl Versioned for Order {
                const NAME: &'static str = "order";
                const VERSION: u32 = $version;
            }
        }

        pub(super) struct $name;

        impl Release for $name {
            type Order = $module::Order;

            fn order(qty: u64, price: u64) -> Self::Order {
                let mut order = Self::Order::default();
                (order.qty, order.price) = (qty, Price(price));
                order
            }

            fn facts(order: &Self::Order) -> (u64, u64) {
                (order.qty, order.price.0)
            }

            fn migrations() -> Migrations {
                $migrations
            }
        }
    };
}

release!(First, first, 1, { qty: u64, price: Price }, Migrations::new().version::<first::Order>());
release!(Second, second, 2, { price: Price, note: String, qty: u64 }, {
    Migrations::new().step(|first::Order { qty, price }| {
        Ok(second::Order { price, note: format!("{qty} since the first"), qty })
    })
});
release!(Third, third, 3, { tags: Vec<String>, qty: u64, price: Price }, {
    Second::migrations().step(|second::Order { price, note, qty }| {
        Ok(third::Order { tags: vec![note], qty, price })
    })
});
// The fields of the first release in other places, under its version.
release!(Swapped, swapped, 1, { price: Price, qty: u64 }, Migrations::new());
