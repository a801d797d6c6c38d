// SPDX-License-Identifier: GPL-2.0

//! Addresses, page sizes and permissions. Each is a separate type, so that the compiler catches
//! mix-ups.

#![forbid(unsafe_code)]

use core::{fmt, ops::BitOr};

macro_rules! address {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a raw address, in bytes.
            #[inline]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// Returns the raw address, in bytes.
            #[inline]
            pub const fn raw(self) -> u64 {
                self.0
            }

            /// Adds `bytes`; `None` when the result does not fit 64 bits.
            #[inline]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// Returns the last byte of the `len` bytes that start here; `None` when `len` is zero
            /// or the range does not fit 64 bits.
            #[inline]
            pub const fn last(self, len: u64) -> Option<Self> {
                match len {
                    0 => None,
                    _ => self.checked_add(len - 1),
                }
            }

            /// Returns whether the address is a multiple of `size`, a power of two.
            #[inline]
            pub const fn is_aligned(self, size: u64) -> bool {
                self.0 & (size - 1) == 0
            }

            /// Rounds down to a multiple of `size`, a power of two.
            #[inline]
            pub const fn align_down(self, size: u64) -> Self {
                Self(self.0 & !(size - 1))
            }

            /// Rounds up to a multiple of `size`, a power of two; `None` when that does not fit 64
            /// bits.
            #[inline]
            pub const fn align_up(self, size: u64) -> Option<Self> {
                match self.checked_add(size - 1) {
                    Some(end) => Some(end.align_down(size)),
                    None => None,
                }
            }
        }

        impl From<u64> for $name {
            #[inline]
            fn from(raw: u64) -> Self {
                Self(raw)
            }
        }

        impl From<$name> for u64 {
            #[inline]
            fn from(addr: $name) -> u64 {
                addr.0
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        /// `0x` and the address in hexadecimal, as messages show it.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        #[cfg(CONFIG_RUST)]
        impl kernel::fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

address! {
    /// An address as a device sees it: the input of a translation.
    Iova
}

address! {
    /// An address in the system's physical memory: the output of a translation.
    PhysAddr
}

/// A set of page sizes: bit `n` stands for pages of `1 << n` bytes, as in `pgsize_bitmap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageSizes(u64);

impl PageSizes {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// 4 KiB.
    pub const SZ_4K: Self = Self(1 << 12);
    /// 2 MiB.
    pub const SZ_2M: Self = Self(1 << 21);
    /// 1 GiB.
    pub const SZ_1G: Self = Self(1 << 30);

    /// Wraps a bitmap of sizes.
    #[inline]
    pub const fn new(bitmap: u64) -> Self {
        Self(bitmap)
    }

    /// Returns the bitmap of sizes.
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Returns the union of both sets; usable in constants.
    #[inline]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the sizes that are in both sets.
    #[inline]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether the set is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether pages of `size` bytes, a power of two, are in the set.
    #[inline]
    pub const fn contains(self, size: u64) -> bool {
        self.0 & size != 0
    }

    /// Returns the smallest size in bytes; 0 for the empty set.
    #[inline]
    pub const fn smallest(self) -> u64 {
        self.0 & self.0.wrapping_neg()
    }
}

impl BitOr for PageSizes {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// What a mapping permits and how its memory is accessed.
///
/// The low bits have the values of `IOMMU_READ` and its neighbours in `<linux/iommu.h>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prot(u32);

impl Prot {
    /// Neither read nor write.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_NATIVE), allow(dead_code))]
    pub const NONE: Self = Self(0);
    /// The device may read.
    pub const READ: Self = Self(1 << 0);
    /// The device may write.
    pub const WRITE: Self = Self(1 << 1);
    /// Accesses are coherent with the caches of the CPUs.
    pub const CACHE: Self = Self(1 << 2);
    /// The device may not fetch instructions.
    pub const NOEXEC: Self = Self(1 << 3);
    /// The memory is device memory, such as an MSI doorbell.
    pub const MMIO: Self = Self(1 << 4);
    /// The permissions hold for privileged accesses only.
    pub const PRIV: Self = Self(1 << 5);
    /// DMA snoops CPU caches even if the device requests no snooping. `<linux/iommu.h>` has no such
    /// bit: the core adds it to the mappings of a domain that enforces coherency.
    pub const FORCE_SNOOP: Self = Self(1 << 31);
    /// Hardware records writes to the memory in the page table. `<linux/iommu.h>` has no such bit:
    /// a driver adds it to the mappings of a domain with dirty tracking.
    pub const TRACK_DIRTY: Self = Self(1 << 30);

    const FROM_C: u32 = (1 << 6) - 1;

    /// Converts the `prot` argument of `iommu_map()`; `None` if a bit without a meaning is set.
    #[inline]
    pub const fn from_iommu_bits(bits: u32) -> Option<Self> {
        match bits & !Self::FROM_C {
            0 => Some(Self(bits)),
            _ => None,
        }
    }

    /// Returns the bits: those of `<linux/iommu.h>`, [`Prot::FORCE_SNOOP`] and
    /// [`Prot::TRACK_DIRTY`].
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Returns whether all of `bits` are set.
    #[inline]
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Returns the bits set in either; usable in constants.
    #[inline]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the bits that are not set in `other`.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Prot {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}
