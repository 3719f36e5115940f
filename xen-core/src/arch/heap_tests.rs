//! Random allocations and frees against what every allocator promises.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use guest_abi::frame::PAGE_SIZE;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::{Heap, Pages};

/// Pages of the host's allocator, counted per test thread.
struct HostPages;

thread_local! {
    static IN_USE: AtomicUsize = const { AtomicUsize::new(0) };
}

fn layout(order: u32) -> Layout {
    let bytes = PAGE_SIZE << order;
    Layout::from_size_align(bytes, bytes).unwrap()
}

fn in_use() -> usize {
    IN_USE.with(|count| count.load(Ordering::Relaxed))
}

impl Pages for HostPages {
    fn alloc(order: u32) -> Option<NonNull<u8>> {
        IN_USE.with(|count| count.fetch_add(1 << order, Ordering::Relaxed));
        // SAFETY: the size is not zero.
        NonNull::new(unsafe { std::alloc::alloc(layout(order)) })
    }

    unsafe fn free(pages: NonNull<u8>, order: u32) {
        IN_USE.with(|count| count.fetch_sub(1 << order, Ordering::Relaxed));
        // SAFETY: the caller's promise.
        unsafe { std::alloc::dealloc(pages.as_ptr(), layout(order)) };
    }
}

struct Object {
    start: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Object {
    fn new(heap: &Heap<HostPages>, layout: Layout, mark: u8) -> Self {
        // SAFETY: the size is not zero.
        let start = unsafe { heap.alloc(layout) };
        assert!(!start.is_null());
        // SAFETY: the heap just gave us these bytes.
        unsafe { start.write_bytes(mark, layout.size()) };
        Self {
            start,
            layout,
            mark,
        }
    }

    fn is_intact(&self) -> bool {
        // SAFETY: the bytes are ours until freed, and were written.
        let bytes = unsafe { core::slice::from_raw_parts(self.start, self.layout.size()) };
        bytes.iter().all(|byte| *byte == self.mark)
    }

    fn free(self, heap: &Heap<HostPages>) {
        // SAFETY: it came from this heap with this layout.
        unsafe { heap.dealloc(self.start, self.layout) };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn objects_never_overlap_and_every_page_goes_back(
        steps in proptest::collection::vec((1usize..9000, 0u32..9, any::<u8>(), any::<u16>()), 1..300)
    ) {
        let heap = Heap::<HostPages>::new();
        let mut objects: Vec<Object> = Vec::new();
        for (size, align, mark, choice) in steps {
            if choice % 5 < 2 && !objects.is_empty() {
                let object = objects.swap_remove(usize::from(choice) % objects.len());
                prop_assert!(object.is_intact());
                object.free(&heap);
                continue;
            }
            // Most objects are small, as in life.
            let size = if choice % 5 == 2 { size } else { size % 300 + 1 };
            let object = Object::new(&heap, Layout::from_size_align(size, 1 << align).unwrap(), mark);
            prop_assert!(object.start.addr().is_multiple_of(1 << align));
            objects.push(object);
        }
        prop_assert!(objects.iter().all(Object::is_intact));
        for object in objects {
            object.free(&heap);
        }
        prop_assert_eq!(in_use(), 0);
        prop_assert_eq!(heap.bytes(), 0);
    }
}

#[test]
fn small_objects_share_a_page() {
    let heap = Heap::<HostPages>::new();
    let small = Layout::from_size_align(100, 8).unwrap();
    let objects: Vec<_> = (0..31)
        .map(|mark| Object::new(&heap, small, mark))
        .collect();
    assert_eq!(in_use(), 1);
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_eq!(in_use(), 0);
}

#[test]
fn every_object_counts_whether_it_has_a_page_of_its_own_or_not() {
    let heap = Heap::<HostPages>::new();
    let small = Object::new(&heap, Layout::from_size_align(100, 8).unwrap(), 1);
    assert_eq!(heap.bytes(), 128);
    let large = Object::new(&heap, Layout::from_size_align(5000, 8).unwrap(), 2);
    assert_eq!(heap.bytes(), 128 + 2 * PAGE_SIZE);
    large.free(&heap);
    small.free(&heap);
    assert_eq!(heap.bytes(), 0);
}
