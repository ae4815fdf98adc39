//! One redb file and the handle on it: the only floor that names redb.
//!
//! What leaves this room: the [`Store`] handle and its [`Options`], the [`Disk`] trait, and for the
//! floors above the tables, the [`Plan`] a step is made of, and [`Read`] on durable rows.

mod awaited;
mod backend;
mod careful;
mod closing;
mod compact;
mod disk;
mod ending;
mod engine;
mod fate;
mod fault;
mod group;
mod handle;
mod head;
mod held;
mod hold;
mod inspect;
mod integrity;
mod layers;
mod line;
mod lock;
mod marks;
mod meta_json;
#[cfg(test)]
mod model;
mod numbers;
mod open;
mod options;
mod origin;
mod overlay;
mod owner;
mod pending;
mod place;
mod plan;
mod raise;
mod rebuild;
mod retention;
mod rows;
mod schemas;
mod shadow;
mod slots;
mod snapshot;
mod sync;
mod system;
mod tables;
mod tail;
mod unreconciled;
mod view;
mod whole_file;

pub use compact::{Compaction, StoreSize, compact};
pub use disk::{Disk, MemoryDisk};
pub use handle::{Resolution, Store};
pub use options::{Durability, Limits, OnCopy, Options, Reopen};
pub use pending::Pending;
pub use retention::{Retention, SettledRetention};

pub(crate) use head::{META_UNCLEAN, Unclean, unclean_key};
pub(crate) use held::{Hold, HoldKind};
pub(crate) use inspect::Inspection;
pub(crate) use integrity::Sum;
pub(crate) use meta_json::meta_json;
pub(crate) use plan::{Plan, too_many_rows};
pub(crate) use rebuild::{Highest, Rebuild, rebuild};
pub(crate) use schemas::Schemas;
pub(crate) use snapshot::{Read, Row, Snapshot, frame_of, list_of, misplaced, row_name};
#[cfg(feature = "testing")]
pub(crate) use system::{Asked, Watch, watch};
pub(crate) use tables::{META_HEAD, Record, Table};
pub(crate) use unreconciled::{META_UNRECONCILED, Unreconciled};
pub(crate) use view::{Joined, View};
#[cfg(feature = "testing")]
pub(crate) use whole_file::FileCall;
pub(crate) use whole_file::{Plug, read_whole, write_new};
