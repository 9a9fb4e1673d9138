//! The data plane: addresses and processes of pods, Envoy and its configuration, the load balancers, X-Ray's daemon.
//!
//! Pods are processes on this machine. The API shows a pod at 10.a.b.c, as the VPC CNI would place it; its processes
//! bind the [twin](address::twin) of that address in 127.0.0.0/8. Every process is started through [`process`], which
//! sees to it that none outlives the sandbox, however that ends.

pub mod address;
pub mod envoy;
pub mod process;
