//! For tests: an SQLite whose disk forgets what was not synced when the power goes.
//!
//! Files are SQLite's own on the usual disk. Beside them stands, for every sector written since its file's last sync, what
//! it held before. [`Frozen::copy`] copies a folder as a loss of power would leave it: of each such sector, and of each
//! length, either what was there before or what was written, as chance has it. Disks promise no more than that, and
//! SQLite expects no more. A sync costs nothing here, for what survives is decided here. It can be full, too.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libsqlite3_sys as ffi;

const SECTOR: usize = 512;

type Sector = [u8; SECTOR];
type Methods = &'static ffi::sqlite3_io_methods;
type Then = Box<dyn FnOnce(Frozen) + Send>;

/// The disk under every SQLite file this process opens from now on.
pub struct Disk {
    /// SQLite's own way to files.
    vfs: *mut ffi::sqlite3_vfs,
    state: Mutex<State>,
}

// SAFETY: SQLite's own VFS is made once, never changed, and called from any thread.
unsafe impl Send for Disk {}
// SAFETY: the same; all that changes is behind the lock.
unsafe impl Sync for Disk {}

#[derive(Default)]
struct State {
    /// By the address of SQLite's file object: which file it is, and how SQLite itself treats it.
    open: HashMap<usize, (PathBuf, Methods)>,
    unsynced: BTreeMap<PathBuf, Unsynced>,
    /// What happens after so many more writes.
    then: Option<(u64, Then)>,
    /// Asked for each write: whether the disk is full just then.
    is_full: Option<Box<dyn FnMut() -> bool + Send>>,
}

/// The disk between two writes, while everybody waits.
pub struct Frozen<'a>(&'a State);

/// What a file was like when it was last synced, as far as that is not so any more.
struct Unsynced {
    length: u64,
    sectors: BTreeMap<u64, Sector>,
}

/// What a loss of power took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Sectors written and not synced.
    pub unsynced: usize,
    /// Those of them that are again what they were.
    pub forgotten: usize,
}

static DISK: OnceLock<Disk> = OnceLock::new();

/// Puts the disk under all of SQLite. To be called before the first file is opened; later calls change nothing.
pub fn install() -> &'static Disk {
    DISK.get_or_init(|| {
        // SAFETY: SQLite starts itself once, however often it is asked, and always has a VFS of its own.
        let vfs = unsafe {
            assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
            ffi::sqlite3_vfs_find(std::ptr::null())
        };
        // SAFETY: the default VFS lives as long as the process. The copy differs in its name and in how files are opened.
        let mut ours = unsafe { *vfs };
        ours.zName = c"forgetful".as_ptr();
        ours.pNext = std::ptr::null_mut();
        ours.xOpen = Some(open);
        // SAFETY: SQLite keeps the pointer for ever, and so do we.
        let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1) };
        assert_eq!(registered, ffi::SQLITE_OK);
        Disk { vfs, state: Mutex::default() }
    })
}

impl Disk {
    /// Calls `then` once, in the midst of things: right after so many more writes, before anything else is written.
    pub fn after_writes(&self, count: u64, then: impl FnOnce(Frozen) + Send + 'static) {
        self.state().then = Some((count, Box::new(then)));
    }

    /// From here on each write asks whether it finds the disk full; none: there is room again.
    pub fn fills(&self, is_full: Option<Box<dyn FnMut() -> bool + Send>>) {
        self.state().is_full = is_full;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frozen<'_> {
    /// Copies the files of a folder into another as a loss of power at this instant leaves them. `forgets` is asked for
    /// each sector that was not synced, and for each length. What SQLite shares between processes in memory is gone.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn copy(&self, folder: &Path, into: &Path, mut forgets: impl FnMut() -> bool) -> io::Result<Loss> {
        let mut loss = Loss::default();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() || path.extension().is_some_and(|it| it.as_bytes().ends_with(b"-shm")) {
                continue;
            }
            let mut bytes = std::fs::read(&path)?;
            if let Some(unsynced) = self.0.unsynced.get(&path) {
                for (index, before) in &unsynced.sectors {
                    loss.unsynced += 1;
                    if forgets() {
                        loss.forgotten += 1;
                        put(&mut bytes, *index, before);
                    }
                }
                if forgets() {
                    bytes.resize(usize::try_from(unsynced.length).map_err(io::Error::other)?, 0);
                }
            }
            std::fs::write(into.join(path.file_name().unwrap_or_default()), bytes)?;
        }
        Ok(loss)
    }
}

fn put(bytes: &mut Vec<u8>, index: u64, sector: &Sector) {
    let start = usize::try_from(index).unwrap_or(usize::MAX / SECTOR) * SECTOR;
    if bytes.len() < start + SECTOR {
        bytes.resize(start + SECTOR, 0);
    }
    bytes[start..start + SECTOR].copy_from_slice(sector);
}

impl State {
    /// One more write.
    fn count(&mut self) {
        match &mut self.then {
            Some((left, _)) if *left > 1 => *left -= 1,
            _ => {
                if let Some((_, then)) = self.then.take() {
                    then(Frozen(self));
                }
            }
        }
    }

    fn methods(&self, file: *mut ffi::sqlite3_file) -> Option<Methods> {
        self.open.get(&(file as usize)).map(|(_, methods)| *methods)
    }

    /// Remembers what these bytes of a file are, before they change.
    ///
    /// # Safety
    /// `file` is one of SQLite's that [`open`] has seen and [`close`] has not.
    unsafe fn keep(&mut self, file: *mut ffi::sqlite3_file, from: u64, to: Option<u64>) {
        let Some((path, methods)) = self.open.get(&(file as usize)) else { return };
        let (Some(read), Some(size)) = (methods.xRead, methods.xFileSize) else { return };
        let mut length: ffi::sqlite3_int64 = 0;
        // SAFETY: the file is open, and SQLite writes the one number.
        unsafe { size(file, &raw mut length) };
        let length = u64::try_from(length).unwrap_or(0);
        let kept = self.unsynced.entry(path.clone());
        let kept = kept.or_insert_with(|| Unsynced { length, sectors: BTreeMap::new() });
        for index in from / SECTOR as u64..to.unwrap_or(length).div_ceil(SECTOR as u64) {
            kept.sectors.entry(index).or_insert_with(|| {
                let mut sector = [0; SECTOR];
                let at = ffi::sqlite3_int64::try_from(index * SECTOR as u64).unwrap_or(0);
                // SAFETY: as many bytes as the sector has; behind the file's end SQLite fills in zeros.
                unsafe { read(file, sector.as_mut_ptr().cast(), SECTOR as c_int, at) };
                sector
            });
        }
    }
}

fn disk() -> &'static Disk {
    DISK.get().expect("the disk is installed before SQLite knows of it")
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let disk = disk();
    // SAFETY: what SQLite hands us is handed on as it is, to the VFS it was meant for.
    let opened = unsafe { (*disk.vfs).xOpen.map_or(ffi::SQLITE_ERROR, |open| open(disk.vfs, name, file, flags, out)) };
    if opened != ffi::SQLITE_OK || name.is_null() {
        return opened;
    }
    // SAFETY: an opened file has methods, which SQLite never changes; a name ends with a zero.
    unsafe {
        let theirs: Methods = &*(*file).pMethods;
        let path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
        let ours = ffi::sqlite3_io_methods {
            xClose: Some(close),
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xSync: Some(sync),
            // Without pages that are read past us.
            iVersion: theirs.iVersion.min(2),
            ..*theirs
        };
        // A few files a test: they may stay.
        (*file).pMethods = Box::leak(Box::new(ours));
        disk.state().open.insert(file as usize, (path, theirs));
    }
    opened
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let open = disk().state().open.remove(&(file as usize));
    // SAFETY: SQLite closes what it opened.
    open.and_then(|(_, methods)| methods.xClose).map_or(ffi::SQLITE_ERROR, |close| unsafe { close(file) })
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, count: c_int, at: i64) -> c_int {
    let mut state = disk().state();
    if state.is_full.as_mut().is_some_and(|is_full| is_full()) {
        return ffi::SQLITE_FULL;
    }
    let from = u64::try_from(at).unwrap_or(0);
    // SAFETY: SQLite writes to a file it has open; the lock is held until it is written.
    unsafe {
        state.keep(file, from, Some(from + u64::try_from(count).unwrap_or(0)));
        let write = state.methods(file).and_then(|methods| methods.xWrite);
        let written = write.map_or(ffi::SQLITE_IOERR_WRITE, |write| write(file, bytes, count, at));
        state.count();
        written
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    let mut state = disk().state();
    // SAFETY: as for writing.
    unsafe {
        state.keep(file, u64::try_from(length).unwrap_or(0), None);
        let truncate = state.methods(file).and_then(|methods| methods.xTruncate);
        truncate.map_or(ffi::SQLITE_IOERR_TRUNCATE, |truncate| truncate(file, length))
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    let mut state = disk().state();
    if let Some((path, _)) = state.open.get(&(file as usize)) {
        let path = path.clone();
        state.unsynced.remove(&path);
    }
    ffi::SQLITE_OK
}
