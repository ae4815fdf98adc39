//! What these classes ask of the operating system beside files: limits, and signals other than
//! SIGKILL.

#[cfg(target_os = "linux")]
pub(crate) use linux::{fill, limit_address_space, limit_file_size, resume, stop};

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{fill, limit_address_space, limit_file_size, resume, stop};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    use rustix::fs::{FallocateFlags, fallocate, statvfs};
    use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

    /// Files of this process grow no further than this; `None` takes the limit away again.
    pub(crate) fn limit_file_size(bytes: Option<u64>) -> Result<(), String> {
        set(Resource::Fsize, bytes)
    }

    /// Fills the file system of `folder` with files in `ballast`, down to so many bytes of room.
    pub(crate) fn fill(folder: &Path, ballast: &Path, room: u64) -> Result<(), String> {
        let mut most = u64::MAX;
        for nth in 0..200 {
            let seen = statvfs(folder).map_err(|error| format!("looking for room: {error}"))?;
            let piece = (seen.f_bavail * seen.f_frsize).saturating_sub(room).min(most);
            if piece < 4096 {
                break;
            }
            let file = File::create(ballast.join(nth.to_string()));
            let taken =
                file.map_err(|error| error.to_string()).and_then(|mut file| {
                    match fallocate(&file, FallocateFlags::empty(), 0, piece) {
                        Err(rustix::io::Errno::OPNOTSUPP) => {
                            let piece = vec![1; usize::try_from(piece.min(1 << 20)).unwrap_or(0)];
                            file.write_all(&piece).map_err(|error| error.to_string())
                        }
                        taken => taken.map_err(|error| error.to_string()),
                    }
                });
            // Part of it may be taken all the same.
            if taken.is_err() {
                most = piece / 2;
            }
        }
        Ok(())
    }

    /// This process gets no more address space than this.
    pub(crate) fn limit_address_space(bytes: u64) -> Result<(), String> {
        set(Resource::As, Some(bytes))
    }

    fn set(resource: Resource, bytes: Option<u64>) -> Result<(), String> {
        // Only the soft limit, so that it can be taken away again.
        let maximum = getrlimit(resource).maximum;
        setrlimit(resource, Rlimit { current: bytes.or(maximum), maximum })
            .map_err(|error| format!("setting a limit: {error}"))
    }

    /// SIGSTOP: it holds what it holds, and does nothing.
    pub(crate) fn stop(pid: u32) -> Result<(), String> {
        signal(pid, Signal::STOP)
    }

    pub(crate) fn resume(pid: u32) -> Result<(), String> {
        signal(pid, Signal::CONT)
    }

    fn signal(pid: u32, signal: Signal) -> Result<(), String> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no such process")?;
        kill_process(pid, signal).map_err(|error| format!("a signal: {error}"))
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    fn missing<T>() -> Result<T, String> {
        Err("limits and signals are only known for Linux here".to_owned())
    }

    pub(crate) fn fill(_: &std::path::Path, _: &std::path::Path, _: u64) -> Result<(), String> {
        missing()
    }

    pub(crate) fn limit_file_size(_: Option<u64>) -> Result<(), String> {
        missing()
    }

    pub(crate) fn limit_address_space(_: u64) -> Result<(), String> {
        missing()
    }

    pub(crate) fn stop(_: u32) -> Result<(), String> {
        missing()
    }

    pub(crate) fn resume(_: u32) -> Result<(), String> {
        missing()
    }
}
