//! Compiles the fsync shim with the same `rustc` that builds the bench, so that `cargo run` is all
//! a fresh machine needs. The library is carried inside the binary (`src/shim.rs`) and written
//! next to the measured store at run time, so the binary can be moved.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "slow-fsync/src/lib.rs";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("libslow_fsync.so");
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        compile(&out)?;
    } else {
        // LD_PRELOAD is Linux's; elsewhere flushes are not counted and cannot be delayed.
        fs::write(&out, [])?;
    }
    Ok(())
}

fn compile(out: &PathBuf) -> Result<(), Box<dyn Error>> {
    let mut rustc = Command::new(env::var_os("RUSTC").ok_or("cargo sets RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "slow_fsync"]);
    rustc.args(["-C", "opt-level=2", "-C", "panic=abort", "-C", "strip=symbols"]);
    let target = env::var("TARGET")?;
    if target != env::var("HOST")? {
        rustc.args(["--target", &target]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={}", linker.display()));
    }
    let status = rustc.arg("-o").arg(out).arg(SOURCE).status()?;
    if status.success() { Ok(()) } else { Err("rustc could not build the fsync shim".into()) }
}
