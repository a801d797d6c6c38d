// SPDX-License-Identifier: GPL-2.0

//! What the command line and the configuration say of default domains.
//!
//! The functions of this file may be called before anything is initialised.

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

use crate::log::log_info;

/// The type of default domains; [`UNDECIDED`] until it was asked for or chosen. Set while the
/// machine boots with one processor, later only from a lazy type to the strict one.
static DEFAULT_TYPE: Atomic<u32> = Atomic::new(UNDECIDED);

/// Whether freed addresses are invalidated at once. Set as above.
static STRICT: Atomic<bool> = Atomic::new(cfg!(CONFIG_IOMMU_DEFAULT_DMA_STRICT));

/// Whether the command line says so, for messages; it also overrides the configuration.
static TYPE_IS_GIVEN: Atomic<bool> = Atomic::new(false);
static STRICT_IS_GIVEN: Atomic<bool> = Atomic::new(false);

/// The blocked type, which is never a default.
const UNDECIDED: u32 = bindings::IOMMU_DOMAIN_BLOCKED;

const LAZY: u32 = bindings::IOMMU_DOMAIN_DMA | bindings::__IOMMU_DOMAIN_DMA_FQ;

/// The type that default domains have where neither the driver nor the device wants another.
pub(super) fn default_type() -> u32 {
    DEFAULT_TYPE.load(Relaxed)
}

fn set_type(kind: u32, given: bool) {
    if given {
        TYPE_IS_GIVEN.store(true, Relaxed);
    }
    DEFAULT_TYPE.store(kind, Relaxed);
}

/// Default domains let DMA pass untranslated.
#[export]
pub unsafe extern "C" fn iommu_set_default_passthrough(cmd_line: bool) {
    set_type(bindings::IOMMU_DOMAIN_IDENTITY, cmd_line);
}

/// Default domains translate.
#[export]
pub unsafe extern "C" fn iommu_set_default_translated(cmd_line: bool) {
    set_type(bindings::IOMMU_DOMAIN_DMA, cmd_line);
}

/// Whether default domains let DMA pass untranslated.
#[export]
pub unsafe extern "C" fn iommu_default_passthrough() -> bool {
    default_type() == bindings::IOMMU_DOMAIN_IDENTITY
}

/// Freed addresses are invalidated at once from now on; domains that are there stay as they are.
#[export]
pub unsafe extern "C" fn iommu_set_dma_strict() {
    STRICT.store(true, Relaxed);
    if default_type() == LAZY {
        DEFAULT_TYPE.store(bindings::IOMMU_DOMAIN_DMA, Relaxed);
    }
}

/// `iommu.strict=`.
#[export]
pub unsafe extern "C" fn iommu_core_set_strict(strict: bool) {
    STRICT.store(strict, Relaxed);
    STRICT_IS_GIVEN.store(true, Relaxed);
}

/// Decides what the command line has left open.
#[export]
pub unsafe extern "C" fn iommu_core_choose_default() {
    if !TYPE_IS_GIVEN.load(Relaxed) {
        // SAFETY: Always safe.
        let encrypted = unsafe { bindings::iommu_core_memory_is_encrypted() };
        match cfg!(CONFIG_IOMMU_DEFAULT_PASSTHROUGH) {
            // Devices reach encrypted memory only by way of buffers that DMA addresses lead to.
            true if encrypted => {
                log_info!("memory is encrypted: default domains translate");
                set_type(bindings::IOMMU_DOMAIN_DMA, false);
            }
            true => set_type(bindings::IOMMU_DOMAIN_IDENTITY, false),
            false => set_type(bindings::IOMMU_DOMAIN_DMA, false),
        }
    }
    let strict = STRICT.load(Relaxed);
    let translated = default_type() != bindings::IOMMU_DOMAIN_IDENTITY;
    if translated && !strict {
        DEFAULT_TYPE.store(LAZY, Relaxed);
    }
    let given = |given: &Atomic<bool>| match given.load(Relaxed) {
        true => " (kernel command line)",
        false => "",
    };
    log_info!(
        "default domains: {}{}",
        match translated {
            true => "translated",
            false => "identity",
        },
        given(&TYPE_IS_GIVEN),
    );
    if translated {
        log_info!(
            "freed addresses are invalidated {}{}",
            match strict {
                true => "at once: strict",
                false => "later: lazy",
            },
            given(&STRICT_IS_GIVEN),
        );
    }
}
