//! Any bytes, as what a guest does to `blkback`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = backends::fuzzing::blkback(data);
});
