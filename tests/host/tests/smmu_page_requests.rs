// SPDX-License-Identifier: GPL-2.0

//! Page requests, compared with records from the specification.

mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable;
use proptest::prelude::*;
use smmu::records::{command::Command, page_request::PageRequest};

/// IHI 0070 chapter 8.
#[test]
fn page_requests() {
    let request = PageRequest::decode([0xfc05_4321_0000_0008, 0x1234_5678_9abc_d1ff]);
    assert_eq!(
        request,
        PageRequest {
            stream: 8,
            substream: Some(0x5_4321),
            page: 0x1234_5678_9abc_d000,
            group: 0x1ff,
            last: true,
            read: true,
            write: true,
            execute: true,
            privileged: true,
        }
    );
    let request = PageRequest::decode([0x1000_0000_0000_0008, 0x1000]);
    assert!(request.read && !request.write && !request.last && !request.execute);
    assert!(!request.privileged && !request.is_stop_marker());
    assert_eq!(request.substream, None);
}

/// Requests as they are in the queue: R, W, X, L in bits 60, 61, 59, 62; and their texts.
#[test]
fn texts_and_answers() {
    let text = |words| PageRequest::decode(words).to_string();
    assert_eq!(
        text([0x7000_0000_0000_0008, 0x1005]),
        "page 0x1000 to read and write, group 0x5"
    );
    assert_eq!(
        text([0x5c00_0000_0000_0008, 0x1005]),
        "page 0x1000 to read and execute, group 0x5"
    );
    assert_eq!(
        text([0x0000_0000_0000_0008, 0x1005]),
        "page 0x1000 to do nothing, group 0x5"
    );
    assert_eq!(
        text([0xe000_0003_0000_0008, 0x1005]),
        "page 0x1000 to write, substream 0x3, group 0x5"
    );
    // L without R and W is a Stop PASID marker, which needs no response.
    let is_marker = |words| PageRequest::decode(words).is_stop_marker();
    assert!(is_marker([0xc000_0001_0000_0008, 0]));
    assert!(!is_marker([0x8000_0001_0000_0008, 0]));
    assert!(!is_marker([0xd000_0001_0000_0008, 0]));
    // The response that refuses: operation 0x41, response 0 (deny), as the C driver writes it.
    let refuse = |substream| Command::refuse_page_requests(8, substream, 0x1ff).0;
    assert_eq!(refuse(None), [0x8_0000_0041, 0x1ff]);
    assert_eq!(refuse(Some(3)), [0x8_0000_3841, 0x1ff]);
}

proptest! {
    /// Every bit pattern is decoded.
    #[test]
    fn any_record(words in any::<[u64; 2]>()) {
        let request = PageRequest::decode(words);
        prop_assert_eq!(request.stream, words[0] as u32);
        prop_assert!(request.group < 512 && request.page % 4096 == 0);
        prop_assert!(!request.to_string().is_empty());
    }
}
