//! T9F: real file systems in loop mounts, each full at every size in steps of 4 KiB, with a limit on
//! the size of files, a quota, free space in pieces, shared blocks, read-only, shut down, and with
//! the device gone. Then there is room again, or another machine has the disk.
//!
//! Each case has a mount name space of its own, and its mounts go with it. What may not be done here
//! is said when the class begins, as `skipped: why`.

pub(crate) mod live;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::child::Child;
use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::judge::Known;
use super::supervisor::judge;
use super::t01_power_loss::spread;
use super::t09_full_disk::follow;
use live::End;

pub(crate) struct FileSystems;

/// Rooms of 0 KiB, 4 KiB, and so on up to 1,500 KiB: the file of the store doubles in size a few times
/// in them.
const ROOMS: usize = 376;
/// A place in every mount name space that is there before.
const SCRIPT: &str = r#"
set -e; trap '' XFSZ; IMAGE=$1; FOLDER=$2; shift 2
[ -z "$MAKE" ] || { truncate -s "$SIZE" "$IMAGE"; $MAKE "$IMAGE" >/dev/null; }
eval "$MOUNT"
exec "$@"
"#;

/// A kind of file system: how one is made, and mounted.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    mib: u64,
    make: &'static str,
    mount: &'static str,
    /// A commit may fail in the middle when it is full: it writes written blocks elsewhere each time,
    /// or takes no blocks beforehand.
    may_fail_late: bool,
    ends: &'static [End],
}

const LOOP: &str = r#"mount -o loop "$IMAGE" "$FOLDER""#;
const EXT4: &[End] =
    &[End::Full, End::Limit, End::Pieces, End::ReadOnly, End::ShutDown, End::Gone, End::Quota];

const KINDS: &[Kind] = &[
    Kind::image("ext4, 1 KiB blocks", 16, "mkfs.ext4 -q -F -b 1024", EXT4),
    Kind::image("ext4, 4 KiB blocks", 16, "mkfs.ext4 -q -F -b 4096", EXT4),
    Kind::image(
        "ext4, 1 KiB blocks, no journal",
        16,
        "mkfs.ext4 -q -F -b 1024 -O ^has_journal",
        &[End::Full, End::Limit, End::Pieces, End::ReadOnly, End::ShutDown],
    ),
    Kind::image(
        "ext4, 4 KiB blocks, no journal",
        16,
        "mkfs.ext4 -q -F -b 4096 -O ^has_journal",
        &[End::Full, End::ShutDown],
    ),
    Kind::image("ext2", 16, "mkfs.ext2 -q -F -b 1024", &[End::Full, End::Limit]).late(),
    Kind::image(
        "xfs",
        320,
        "mkfs.xfs -q -f -m reflink=1",
        &[End::Full, End::Limit, End::Pieces, End::Shared, End::ReadOnly, End::ShutDown, End::Gone],
    ),
    Kind::image("xfs, 1 KiB blocks", 320, "mkfs.xfs -q -f -b size=1024", &[End::Full, End::Shared]),
    Kind::image(
        "btrfs",
        128,
        "mkfs.btrfs -q -f",
        &[End::Full, End::Limit, End::Pieces, End::Shared, End::ReadOnly, End::Quota, End::Gone],
    )
    .late(),
    Kind {
        mount: r#"mount -t tmpfs -o size=12m,mode=700 none "$FOLDER""#,
        ..Kind::image("tmpfs", 0, "", &[End::Full, End::Limit, End::Pieces, End::ReadOnly])
    },
    Kind {
        mount: r#"mount -t tmpfs -o size=12m none "$FOLDER"; cd "$FOLDER"; mkdir l u w m
mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none m; mount --bind m "$FOLDER""#,
        ..Kind::image("overlay on tmpfs", 0, "", &[End::Full, End::Limit])
    },
    Kind { mount: "", ..Kind::image("the folder as it is", 0, "", &[End::Limit]) },
];

impl Kind {
    const fn image(name: &'static str, mib: u64, make: &'static str, ends: &'static [End]) -> Self {
        Self { name, mib, make, mount: LOOP, may_fail_late: false, ends }
    }

    const fn late(self) -> Self {
        Self { may_fail_late: true, ..self }
    }

    /// A program that runs where `folder` is such a file system, in a mount name space of its own.
    fn command(&self, within: &Path, folder: &Path, program: &Command) -> Command {
        let flags = if is_root() { "-m" } else { "-rm" };
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", SCRIPT, "mounted"]);
        command.arg(within.join("image")).arg(folder).arg(program.get_program());
        command.args(program.get_args());
        command.env("MAKE", self.make).env("MOUNT", self.mount);
        command.env("SIZE", format!("{}M", self.mib));
        command
    }

    /// Whether it can be made and mounted here, and filled so.
    fn try_out(&self, within: &Path, end: End) -> Result<(), String> {
        let folder = tempfile::tempdir_in(within).map_err(|error| error.to_string())?;
        let mounted = folder.path().join("mounted");
        std::fs::create_dir(&mounted).map_err(|error| error.to_string())?;
        let mut program = Child::command(&["probe"])?;
        program.arg(&mounted).arg("--end").arg(end.name());
        let mut command = self.command(folder.path(), &mounted, &program);
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().map(str::trim).find(|line| !line.is_empty());
        Err(last.unwrap_or("it ended without a word").to_owned())
    }
}

fn is_root() -> bool {
    #[cfg(target_os = "linux")]
    return rustix::process::geteuid().is_root();
    #[cfg(not(target_os = "linux"))]
    return false;
}

impl Class for FileSystems {
    fn id(&self) -> &'static str {
        "T9F"
    }

    fn about(&self) -> &'static str {
        "real file systems: full, quota, limit, in pieces, shared, read-only, shut down, gone"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        let mut plan = Vec::new();
        for kind in KINDS {
            for end in kind.ends {
                match kind.try_out(&setting.folder, *end) {
                    Ok(()) => plan.push((kind, *end)),
                    Err(why) => eprintln!("T9F: skipped: {}, {}: {why}", kind.name, end.name()),
                }
            }
        }
        if plan.is_empty() {
            return Err("no file system can be filled here".to_owned());
        }
        Ok(Box::new(Lives { plan, lived: Mutex::default() }))
    }
}

struct Lives {
    plan: Vec<(&'static Kind, End)>,
    /// How many lives there were on each file system, and how many of them ended well.
    lived: Mutex<BTreeMap<&'static str, (u64, u64)>>,
}

impl Drop for Lives {
    fn drop(&mut self) {
        for (name, (lives, well)) in &*self.lived.lock().unwrap_or_else(PoisonError::into_inner) {
            eprintln!("T9F: {name}: {lives} lives, {} with something out of reach", lives - well);
        }
    }
}

impl Cases for Lives {
    /// Each end on each file system once; with a scale of 18 each at every size.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a scale times small numbers"
    )]
    fn count(&self, scale: f64) -> u64 {
        let rounds = (ROOMS as f64 * scale / 18.0).floor().max(1.0);
        self.plan.len() as u64 * rounds as u64
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let count = self.plan.len() as u64;
        let planned = usize::try_from(nth % count).ok().and_then(|nth| self.plan.get(nth));
        let Some((kind, end)) = planned else {
            return Outcome::Violation("there is no plan".to_owned());
        };
        // Neighbours in a round have rooms of their own, and so has each end in the next round.
        let room = 4 * spread(nth / count + 37 * (nth % count), ROOMS);
        let outcome = one_life(kind, *end, room, scene).unwrap_or_else(Outcome::Violation);
        let mut lived = self.lived.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, well) = lived.entry(kind.name).or_default();
        *all += 1;
        *well += u64::from(outcome == Outcome::Same);
        match outcome {
            Outcome::Violation(what) => {
                Outcome::Violation(format!("{}, {}, {room} KiB: {what}", kind.name, end.name()))
            }
            outcome => outcome,
        }
    }
}

fn one_life(kind: &Kind, end: End, room: usize, scene: &mut Scene) -> Result<Outcome, String> {
    let within = scene.folder()?;
    let (folder, copy) = (within.join("mounted"), within.join("copy.mp"));
    std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let mut program = Child::command(&["mounted"])?;
    program.arg(&folder).arg("--seed").arg(scene.rng.next_u64().to_string());
    program.arg("--end").arg(end.name()).arg("--room").arg(room.to_string());
    program.arg("--image").arg(within.join("image")).arg("--copy").arg(&copy);
    if kind.may_fail_late {
        program.arg("--may-fail-late");
    }
    let mut command = kind.command(&within, &folder, &program);
    let mut known = Known::default();
    if let Err(why) = follow(Child::start(&mut command)?, &mut known)? {
        return Ok(Outcome::Violation(why));
    }
    Ok(match judge(&copy, &mut known, true) {
        Ok(()) => Outcome::Same,
        Err(finding) => finding.of_a_sound_store("when there was room again"),
    })
}
