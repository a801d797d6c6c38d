// SPDX-License-Identifier: GPL-2.0

//! What is known of a machine. `--json` writes this.

use serde::Serialize;

use crate::{pci::Acs, Failure};

/// A machine.
#[derive(Clone, Default, Serialize, Debug)]
pub struct Machine {
    /// The kernel's IOMMU layer.
    pub layer: Layer,
    /// IOMMUs, sorted by name.
    pub units: Vec<Unit>,
    /// Groups, sorted by number.
    pub groups: Vec<Group>,
    /// PCI devices, and others that are in a group, sorted by name.
    pub devices: Vec<Device>,
    /// Whether a device can raise only interrupts that were given to it, if the devices do not say
    /// it themselves.
    pub interrupts: Interrupts,
    /// Whether VFIO was told to work where interrupts are not isolated; `None` if it is not loaded.
    pub unsafe_interrupts_allowed: Option<bool>,
}

/// Which code is the kernel's IOMMU layer, and which drives the units.
#[derive(Clone, Default, Serialize, Debug)]
pub struct Layer {
    pub kind: LayerKind,
    /// The version of iommu_core.
    pub version: Option<String>,
}

/// Which code is the kernel's IOMMU layer.
#[derive(Copy, Clone, PartialEq, Eq, Default, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// The kernel's own, with its own drivers.
    #[default]
    Kernel,
    /// The kernel's own, with the drivers of iommu_core.
    Hosted,
    /// iommu_core.
    Native,
}

/// Whether a device can raise only interrupts that were given to it.
#[derive(Copy, Clone, PartialEq, Eq, Default, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Interrupts {
    Isolated,
    Open,
    /// No interrupt of a device is in use, so nothing tells.
    #[default]
    Unknown,
}

/// An IOMMU.
#[derive(Clone, Default, Serialize, Debug)]
pub struct Unit {
    pub name: String,
    /// The vendor driver.
    pub driver: Option<String>,
    pub version: Option<String>,
    /// What it does: `translates`, `failed`, `off`. With iommu_core only.
    pub state: Option<String>,
    pub features: Vec<String>,
    /// Devices that stay as they were when the unit was taken. With iommu_core only.
    pub held: Option<u64>,
    /// Faults of devices that are in no group. With iommu_core only.
    pub stray_faults: Option<u64>,
    /// The devices behind it.
    pub devices: Vec<String>,
}

/// A range of addresses with a meaning of its own.
#[derive(Clone, Serialize, Debug)]
pub struct Region {
    pub first: String,
    pub last: String,
    pub kind: String,
}

/// A group.
#[derive(Clone, Default, Serialize, Debug)]
pub struct Group {
    pub number: u32,
    /// The type of the default domain: `DMA`, `DMA-FQ`, `identity`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Who may do DMA with it. With iommu_core only, as all that follows.
    pub owner: Option<String>,
    /// What it is attached to.
    pub domain: Option<String>,
    pub faults: Option<u64>,
    pub last_fault: Option<String>,
    pub reserved: Vec<Region>,
    pub devices: Vec<String>,
}

/// A device.
#[derive(Clone, Default, Serialize, Debug)]
pub struct Device {
    pub name: String,
    /// What it is, from the system's list of PCI ids.
    pub title: Option<String>,
    /// Its class, such as 0x010802.
    pub class: Option<u32>,
    pub class_title: Option<String>,
    /// Its vendor and device ids.
    pub ids: Option<(u16, u16)>,
    pub driver: Option<String>,
    pub group: Option<u32>,
    pub unit: Option<String>,
    /// The bridges above it, the outermost first.
    pub bridges: Vec<String>,
    /// The ways to reset it; `None` if the kernel does not say.
    pub reset: Option<Vec<String>>,
    /// Why it is in its group. With iommu_core only.
    pub reason: Option<String>,
    /// The ids that its unit knows it by. With iommu_core only.
    pub unit_ids: Vec<String>,
    /// Whether it can raise only interrupts that were given to it: by what, or why not. With
    /// iommu_core only.
    pub interrupts: Option<String>,
    /// Whether it keeps devices from reaching each other past the unit.
    pub acs: Acs,
    /// Whether it is a PCI device.
    pub pci: bool,
}

impl Device {
    /// Whether it can raise only interrupts that were given to it; `None` if it does not say.
    pub fn has_isolated_interrupts(&self) -> Option<bool> {
        self.interrupts
            .as_ref()
            .map(|text| text.starts_with("isolated"))
    }

    /// Whether it is a bridge.
    pub fn is_bridge(&self) -> bool {
        self.class.is_some_and(|class| class >> 16 == 0x06)
    }

    /// Whether it is a bridge to another PCI bus.
    pub fn is_pci_bridge(&self) -> bool {
        self.class.is_some_and(|class| class >> 8 == 0x0604)
    }

    /// Whether it is an IOMMU, whose own DMA no IOMMU translates.
    pub fn is_unit(&self) -> bool {
        self.class.is_some_and(|class| class >> 8 == 0x0806)
    }

    /// The name of its slot: the address without the function.
    pub fn slot(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// What to call it: its name, its class, or its ids.
    pub fn what(&self) -> String {
        let ids = || {
            self.ids
                .map(|(vendor, device)| format!("device {vendor:04x}:{device:04x}"))
        };
        let title = self.title.clone().or(self.class_title.clone());
        title.or_else(ids).unwrap_or_default()
    }
}

impl Machine {
    /// The device that a user means by `name`.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn find(&self, name: &str) -> Result<&Device, Failure> {
        let full = format!("0000:{name}");
        let mut devices = self.devices.iter();
        let found = devices.find(|device| device.name == name || device.name == full);
        found.ok_or_else(|| {
            Failure::Input(format!(
                "no device {name}; `lsiommu` lists those in groups, `lspci -D` all PCI devices"
            ))
        })
    }

    /// The device of this name.
    pub fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// The group of a device.
    pub fn group_of(&self, device: &Device) -> Option<&Group> {
        let number = device.group?;
        self.groups.iter().find(|group| group.number == number)
    }

    /// The unit of a device.
    pub fn unit_of(&self, device: &Device) -> Option<&Unit> {
        let name = device.unit.as_deref()?;
        self.units.iter().find(|unit| unit.name == name)
    }

    /// The devices in a group.
    pub fn members<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Device> {
        let number = Some(group.number);
        self.devices
            .iter()
            .filter(move |device| device.group == number)
    }

    /// Whether no IOMMU is in use.
    pub fn has_no_iommu(&self) -> bool {
        self.units.is_empty() && self.groups.is_empty()
    }

    /// What to do where no IOMMU is in use.
    pub fn advice(&self) -> &'static str {
        match self.layer.kind {
            LayerKind::Kernel => {
                "switch it on in the firmware's set-up (VT-d, AMD-Vi, SMMU), boot \
                 with intel_iommu=on on Intel, and look for errors with \
                 dmesg | grep -i -e iommu -e dmar -e amd-vi -e smmu"
            }
            _ => "iommu_core is there, and has taken no unit: dmesg | grep iommu_core says why",
        }
    }
}
