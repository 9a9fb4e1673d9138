//! Whatever reads bytes of others, each reader as a function of bytes: for the fuzzer in `fuzz/`, and for a short run with
//! arbitrary and almost right bytes in the tests. None may panic, overflow the stack or hang, whatever it is given.

use crate::config::Environment;
use crate::sandbox::aws::fuzz as aws;
use crate::sandbox::controllers::kubelet::fuzz as kubelet;
use crate::sandbox::kubernetes::fuzz as kubernetes;

/// One reader.
pub struct Target {
    /// The name, as the fuzzer's program has it.
    pub name: &'static str,
    /// Reads.
    pub run: fn(&[u8]),
    /// What it understands, to begin with.
    pub samples: &'static [&'static [u8]],
}

/// All readers.
pub const TARGETS: &[Target] = &[
    Target {
        name: "json",
        run: kubernetes::json,
        samples: &[br#"{"kind":"Pod","a":[1,-2.5e3,"\u00e9",true,null]}"#],
    },
    Target {
        name: "merge_patch",
        run: kubernetes::merge_patch,
        samples: &[b"{\"metadata\":{\"labels\":{\"a\":\"b\"}}}\n{\"metadata\":{\"labels\":{\"a\":null,\"c\":[1]}}}"],
    },
    Target {
        name: "strategic_patch",
        run: kubernetes::strategic_patch,
        samples: &[
            b"{\"spec\":{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":1}]},{\"name\":\"b\"}]}}\n{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"a\"}],\"containers\":[{\"name\":\"a\",\"$patch\":\"delete\"},{\"name\":\"c\",\"$retainKeys\":[\"name\"]}]}}",
            b"{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}\n{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"a\"]}}",
        ],
    },
    Target {
        name: "json_patch",
        run: kubernetes::json_patch,
        samples: &[b"{\"a\":{\"b\":[1,2]}}\n[{\"op\":\"add\",\"path\":\"/a/b/-\",\"value\":3},{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/c\"},{\"op\":\"test\",\"path\":\"/a/b/0\",\"value\":1},{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/d~1~0\"},{\"op\":\"remove\",\"path\":\"/a\"}]"],
    },
    Target {
        name: "apply",
        run: kubernetes::apply,
        samples: &[b"{\"metadata\":{\"name\":\"a\",\"managedFields\":[{\"manager\":\"m\",\"operation\":\"Apply\",\"fieldsV1\":{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"a\\\"}\":{\".\":{},\"f:image\":{}}}}}}]},\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}}\n{\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"a\",\"env\":[{\"name\":\"X\"},{\"name\":\"Y\"}]}]}}"],
    },
    Target {
        name: "selectors",
        run: kubernetes::selectors,
        samples: &[b"a=b,c!=d,e in (f,g),!h,i>1,j notin (),k", b"metadata.name=x,status.phase!=Running"],
    },
    Target {
        name: "protobuf",
        run: kubernetes::protobuf,
        samples: &[b"k8s\0\n\x0f\n\x02v1\x12\tNamespace\x12\x18\n\x12\n\x04demo\x12\0\x1a\0\"\0*\x002\x008\0\x12\0\x1a\0\x1a\0\"\0"],
    },
    Target {
        name: "quantity",
        run: kubernetes::quantity,
        samples: &[b"1.5Gi", b"-100m", b"+1e-3", b"9223372036854775807E"],
    },
    Target {
        name: "time",
        run: kubernetes::time,
        samples: &[b"2026-01-31T23:59:59Z", b"2026-01-31T23:59:59.123456+14:30"],
    },
    Target {
        name: "object",
        run: kubernetes::object,
        samples: &[
            br#"{"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"a","env":[{"name":"b","value":"1"}],"resources":{"limits":{"cpu":"100m","memory":1}},"ports":[{"containerPort":80}],"livenessProbe":{"tcpSocket":{"port":"http"}}}]}}},"status":{"conditions":[{"type":"A","lastUpdateTime":"2026-01-01T00:00:00+01:00"}]}}"#,
        ],
    },
    Target {
        name: "continue_token",
        run: kubernetes::continue_token,
        samples: &[b"eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhL2JcdTAwMDAifQ"],
    },
    Target {
        name: "request",
        run: kubernetes::request,
        samples: &[b"/apis/apps/v1/namespaces/default/deployments/web/status?fieldManager=a&watch=1&labelSelector=a%3Db"],
    },
    Target {
        name: "certificate",
        run: kubernetes::certificate,
        samples: &[b"0\x1c0\x1a\xa0\x03\x02\x01\x02\x02\x01\x010\x000\x000\x000\x0e1\x0c0\n\x06\x03U\x04\x03\x0c\x03abc"],
    },
    Target {
        name: "aws_request",
        run: aws::request,
        samples: &[
            b"POST\n/\n\n\nAction=CreateRole&Version=2010-05-08&Tags.member.1.Key=a%2Bb&Filter.1.Value.1=x+y",
            b"POST\n/v20190125/meshes/m/virtualRouter/r/routes/x\na=b\n\n{\"spec\":{\"priority\":1}}",
            b"POST\n/\n\nAmazonEC2ContainerRegistry_V20150921.CreateRepository\n{\"repositoryName\":\"a/b\",\"tags\":[{\"Key\":\"k\"}]}",
        ],
    },
    Target {
        name: "aws_template",
        run: aws::template,
        samples: &[
            b"Resources:\n  V:\n    Type: AWS::EC2::VPC\n    Properties: {CidrBlock: !Sub '10.${A}.0.0/16', Tags: [{Key: Name, Value: !Join ['-', [!Ref 'AWS::StackName', v]]}]}\nOutputs:\n  O: {Value: !GetAtt V.CidrBlock}\n",
            br#"{"Resources":{"R":{"Type":"AWS::IAM::Role","Properties":{"P":{"Fn::If":["C",{"Ref":"AWS::NoValue"},{}]}}}}}"#,
        ],
    },
    Target {
        name: "aws_policy",
        run: aws::policy,
        samples: &[br#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:*","s3:Get?"],"Resource":"arn:aws:ecr:*:*:repository/${aws:username}/*","Condition":{"StringLike":{"aws:TagKeys":["a*"]},"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}}]}"#],
    },
    Target {
        name: "image_manifest",
        run: aws::manifest,
        samples: &[br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"x","digest":"sha256:00","size":2},"layers":[{"digest":"sha256:0","size":-1}]}"#],
    },
    Target {
        name: "image_reference",
        run: kubelet::image_reference,
        samples: &[b"127.0.0.1:5000/meshctl-demo/backend:v1@sha256:00", b"busybox"],
    },
    Target {
        name: "spdy",
        run: kubelet::spdy,
        samples: &[b"\x80\x03\x00\x01\x00\x00\x00=\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00x\xf9\xe3\xc6\xa7\xc2\x02%:p:+)JM\xcc\x85\x16%\xac\xa9\xa0\x80\x86\x14\xcbE\xe0\x1c`ii\x00J\x9f\x9cE\x90h\xcc\x04%oF\x03\x00\x00\x00\x00\xff\xff\x80\x03\x00\x01\x00\x00\x00\x18\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\xc2\xaa\x19T\x0e%\x12\xd6\x0b\x00\x00\x00\xff\xff\x00\x00\x00\x03\x01\x00\x00\x02hi\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01"],
    },
    Target {
        name: "environment",
        run: environment,
        samples: &[b"name: demo\nregion: eu-central-1\nservices:\n  - name: frontend\n    backends: [backend]\n    versions: [{name: v1, weight: 100}]\n"],
    },
];

/// Gives bytes to the reader of a name.
pub fn run(name: &str, bytes: &[u8]) {
    if let Some(target) = TARGETS.iter().find(|target| target.name == name) {
        (target.run)(bytes);
    }
}

/// An environment file.
fn environment(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let folder = std::path::Path::new("");
    // What is wrong with it is shown with the line that it stands in.
    if let Err(invalid) = Environment::parse(&text, "meshctl.yaml", folder) {
        let _ = invalid.to_string();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that are almost right: a sample with pieces taken out, doubled, or replaced by noise; or noise alone.
    fn bent(samples: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
        let change = (
            any::<prop::sample::Index>(),
            0..24usize,
            prop::collection::vec(any::<u8>(), 0..6),
            0..3u8,
        );
        let changes = prop::collection::vec(change, 0..5);
        prop_oneof![
            1 => prop::collection::vec(any::<u8>(), 0..300),
            4 => (prop::sample::select(samples), changes).prop_map(|(sample, changes)| {
                let mut bytes = sample.to_vec();
                for (at, length, noise, what) in changes {
                    let at = at.index(bytes.len() + 1);
                    let end = (at + length).min(bytes.len());
                    let with = match what {
                        0 => Vec::new(),
                        1 => bytes[at..end].repeat(2),
                        _ => noise,
                    };
                    bytes.splice(at..end, with);
                }
                bytes
            }),
        ]
    }

    /// The same bytes at each run, so that a failure is one of the change that it comes with.
    #[test]
    fn every_reader_takes_everything() {
        for target in TARGETS {
            let config = ProptestConfig {
                cases: 300,
                failure_persistence: None,
                ..ProptestConfig::default()
            };
            let generator = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
            let mut runner = proptest::test_runner::TestRunner::new_with_rng(config, generator);
            for sample in target.samples {
                (target.run)(sample);
            }
            let result = runner.run(&bent(target.samples), |bytes| {
                (target.run)(&bytes);
                Ok(())
            });
            assert!(result.is_ok(), "{}: {result:?}", target.name);
        }
    }

    #[test]
    fn the_fuzzer_has_a_program_for_every_reader() {
        let manifest = include_str!("../fuzz/Cargo.toml");
        let programs = manifest.lines().filter_map(|line| {
            let name = line.strip_prefix("name = \"")?.strip_suffix('"')?;
            (name != "meshctl-fuzz").then_some(name)
        });
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(programs.collect::<Vec<_>>(), names);
    }
}
