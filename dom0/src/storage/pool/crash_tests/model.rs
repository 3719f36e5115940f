//! What may be read: every value a sector may have now, or after a loss of power.

/// Stands for anything that ever was there: what a discard leaves.
const ANYTHING: u32 = u32::MAX;

/// A sector. Its value is a number, written at both of its ends; 0 is a sector of zeros.
#[derive(Clone, Debug)]
struct Sector {
    /// The value that is certainly durable, then all that came after it.
    values: Vec<u32>,
    /// All values there ever were.
    history: Vec<u32>,
}

/// A volume.
#[derive(Clone, Debug)]
pub(super) struct Model {
    sectors: Vec<Sector>,
}

/// What a flush that is asked for now will make durable.
#[derive(Debug)]
pub(super) struct Mark(Vec<usize>);

impl Model {
    /// A new volume that shows these values.
    pub(super) fn new(values: impl Iterator<Item = u32>) -> Self {
        let sector = |value| Sector {
            values: vec![value],
            history: vec![0, value],
        };
        Self {
            sectors: values.map(sector).collect(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.sectors.len() as u64
    }

    /// Sectors are being written, or were.
    pub(super) fn write(&mut self, start: u64, values: &[u32]) {
        for (sector, &value) in self.sectors[start as usize..].iter_mut().zip(values) {
            sector.values.push(value);
            sector.history.push(value);
        }
    }

    pub(super) fn discard(&mut self, start: u64, count: u64) {
        for sector in &mut self.sectors[start as usize..][..count as usize] {
            sector.values.push(ANYTHING);
        }
    }

    pub(super) fn mark(&self) -> Mark {
        let newest = |sector: &Sector| sector.values.len() - 1;
        Mark(self.sectors.iter().map(newest).collect())
    }

    /// The flush for which the mark was made is done.
    pub(super) fn flushed(&mut self, mark: Mark) {
        for (sector, newest) in self.sectors.iter_mut().zip(mark.0) {
            sector.values.drain(..newest);
        }
    }

    /// These sectors are durable as they are now.
    pub(super) fn durable(&mut self, start: u64, count: u64) {
        for sector in &mut self.sectors[start as usize..][..count as usize] {
            sector.values.drain(..sector.values.len() - 1);
        }
    }

    /// Checks what is read while the power is on: the newest value.
    pub(super) fn check_now(&self, start: u64, read: &[u32]) {
        for (at, (sector, &value)) in self.sectors[start as usize..].iter().zip(read).enumerate() {
            let newest = *sector.values.last().unwrap();
            assert!(
                sector.allows(newest, value),
                "sector {} is {value}, not {newest}",
                start + at as u64
            );
        }
    }

    /// Checks what is read after a loss of power; from then on these are the values.
    pub(super) fn check_after(&mut self, read: &[u32]) {
        for (at, (sector, &value)) in self.sectors.iter_mut().zip(read).enumerate() {
            let values = &sector.values;
            assert!(
                values.iter().any(|&allowed| sector.allows(allowed, value)),
                "sector {at} is {value}, none of {values:?}"
            );
            sector.values = vec![value];
        }
    }
}

impl Sector {
    fn allows(&self, allowed: u32, value: u32) -> bool {
        allowed == value || allowed == ANYTHING && self.history.contains(&value)
    }
}
