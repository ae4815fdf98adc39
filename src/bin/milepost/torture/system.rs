//! What these classes ask of the operating system beside files: limits, and signals other than
//! SIGKILL.

#[cfg(target_os = "linux")]
pub(crate) use linux::{limit_address_space, limit_file_size, resume, stop};

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{limit_address_space, limit_file_size, resume, stop};

#[cfg(target_os = "linux")]
mod linux {
    use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

    /// Files of this process grow no further than this; `None` takes the limit away again.
    pub(crate) fn limit_file_size(bytes: Option<u64>) -> Result<(), String> {
        set(Resource::Fsize, bytes)
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
