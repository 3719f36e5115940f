//! From the loader to dom0 (placeholder of the skeleton; owners: boot, lead).
