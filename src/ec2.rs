//! The EC2 query API over signed HTTP, as an SDK crate would be (aws-sdk-ec2 alone adds five minutes to the build).
