//! Any bytes, as what a guest does to `netback`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = backends::fuzzing::netback(data);
});
