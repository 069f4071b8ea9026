//! The engine on a disk that tests hold in their hands: power cuts at every operation, damage, full disks.

mod damage;
mod large;
mod life;
mod memory_index;
mod power;
mod power_cuts;
