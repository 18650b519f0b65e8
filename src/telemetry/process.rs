//! What the system says of this process, under the names every Prometheus client library uses. Linux alone says so.

use std::fs;

use super::table::{
    PROCESS_CPU_SECONDS, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_BYTES, PROCESS_START_SECONDS,
};

/// The kernel's unit of time towards programs, on every architecture Linux has (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads all of it anew; what cannot be read keeps its value.
pub fn read() {
    let text = |path: &str| fs::read_to_string(path).ok();
    if let Some(stat) = text("/proc/self/stat") {
        // The name in parentheses may hold anything; what follows is numbers.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        let number = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok());
        if let (Some(user), Some(system)) = (number(11), number(12)) {
            PROCESS_CPU_SECONDS.alone().set((user + system) / TICKS_PER_SECOND);
        }
        let booted = text("/proc/stat")
            .and_then(|stat| stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok()));
        if let (Some(booted), Some(started)) = (booted, number(19)) {
            PROCESS_START_SECONDS.alone().set(booted + started / TICKS_PER_SECOND);
        }
    }
    if let Some(status) = text("/proc/self/status") {
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        if let Some(kilobytes) = kilobytes.and_then(|text| text.trim().parse::<f64>().ok()) {
            PROCESS_RESIDENT_BYTES.alone().set(kilobytes * 1024.0);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        PROCESS_OPEN_FDS.alone().set(open.count() as f64);
    }
    if let Some(limits) = text("/proc/self/limits") {
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
        if let Some(most) = files.and_then(|text| text.parse::<f64>().ok()) {
            PROCESS_MAX_FDS.alone().set(most);
        }
    }
}
