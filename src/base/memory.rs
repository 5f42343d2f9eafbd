//! What the C library does with memory that is freed.

use std::sync::Once;

/// Blocks of at least this size come from the kernel and go back to it, bytes. Smaller than what a
/// network works with, larger than a 720p picture, which would cost as much to get as to fill.
const FROM_THE_KERNEL: i32 = 4 << 20;

/// From now on large blocks go back to the kernel the moment they are freed, instead of lying in
/// the process with what they held until something else needs the space. A page that comes from the
/// kernel again is blank, whoever gets it.
///
/// glibc does so up to 128 KiB by itself, but raises that size to 32 MiB with the first large blocks
/// that are freed; setting it turns that off.
pub fn return_freed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(target_env = "gnu")]
        // SAFETY: `mallopt` takes two numbers, keeps no pointer, and takes the allocator's own lock;
        // any value of this parameter is valid. glibc has no other way to say this from inside a
        // process. Measured over 300 portraits (`face::memory_stays_flat_over_many_pictures`): 260 to
        // 294 MiB without, 178 to 191 with.
        #[allow(unsafe_code)]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, FROM_THE_KERNEL);
        }
    });
}
