// SPDX-License-Identifier: GPL-2.0

//! Default domains in C's numbers.

#![forbid(unsafe_code)]

use kernel::{bindings, macros::kunit_tests};

use super::wish_for;
use crate::driver::DefaultKind;

#[kunit_tests(iommu_core_provider_default_kind)]
mod suite {
    use super::*;

    #[test]
    fn device_that_needs_identity_gets_it_whatever_the_kernel_takes() {
        for passthrough in [false, true] {
            assert_eq!(
                wish_for(Some(DefaultKind::Identity), passthrough),
                bindings::IOMMU_DOMAIN_IDENTITY
            );
        }
    }

    /// A unit without pass-through translates also with `iommu.passthrough=1`. Without the
    /// parameter it may be lazy.
    #[test]
    fn device_that_cannot_have_identity_is_translated() {
        let paging = Some(DefaultKind::Paging);
        assert_eq!(wish_for(paging, true), bindings::IOMMU_DOMAIN_DMA);
        assert_eq!(wish_for(paging, false), 0);
    }

    #[test]
    fn all_others_get_what_the_kernel_takes() {
        assert_eq!(
            [false, true].map(|passthrough| wish_for(None, passthrough)),
            [0, 0]
        );
    }
}
