//! Links the kernel where a guest kernel lies.

fn main() {
    println!("cargo::rerun-if-changed=../../../frontends/guest.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../frontends/guest.ld");
        println!("cargo::rustc-link-arg-bins=-T{script}");
        println!("cargo::rustc-link-arg-bins=--no-pie");
    }
}
