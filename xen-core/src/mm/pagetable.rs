//! Page tables (placeholder).
/// A domain's page tables.
#[derive(Debug)]
pub struct Tables {}
impl Tables {
    /// None yet.
    pub const fn new() -> Self {
        Self {}
    }
}
