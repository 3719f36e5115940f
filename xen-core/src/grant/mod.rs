//! Grant tables (placeholder of the skeleton; owner: events).
/// A domain's grants.
#[derive(Debug)]
pub struct DomainGrants {}
impl DomainGrants {
    /// Nothing granted, nothing mapped.
    pub fn new(_max_grant_frames: u32, _max_maptrack_frames: u32) -> Self {
        Self {}
    }
}
