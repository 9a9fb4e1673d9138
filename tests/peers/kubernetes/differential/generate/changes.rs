//! What changes an object: statuses, and patches of each kind.

use serde_json::{Value, json};

use super::super::objects::{Kind, once_in, pick};
use super::super::play::Request;
use super::{MERGE, PATCH, STRATEGIC, Scene};

impl Scene {
    pub(super) fn status(&mut self, kind: &Kind) -> Value {
        match kind.name {
            "Deployment" => pick(
                &mut self.rng,
                &[
                    json!({"replicas": 1, "observedGeneration": 1}),
                    json!({"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1, "unavailableReplicas": 1}),
                    json!({"readyReplicas": 3}),
                    json!({"replicas": -1}),
                    json!({"conditions": [{"type": "Available", "status": "True", "reason": "R", "message": "M", "lastTransitionTime": "2026-01-01T00:00:00Z", "lastUpdateTime": "2026-01-01T00:00:00Z"}]}),
                ],
            ),
            "Pod" => pick(
                &mut self.rng,
                &[
                    json!({"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}], "conditions": [{"type": "Ready", "status": "True"}]}),
                    json!({"phase": "Failed", "reason": "Evicted", "message": "gone"}),
                    json!({"phase": "Pending", "containerStatuses": [{"name": "main", "ready": false, "restartCount": 2, "image": "busybox:1", "imageID": "", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                ],
            ),
            "Service" => pick(
                &mut self.rng,
                &[
                    json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}),
                    json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}),
                    json!({"loadBalancer": {}}),
                    json!({"conditions": [{"type": "X", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
                ],
            ),
            "Namespace" => pick(
                &mut self.rng,
                &[
                    json!({"phase": "Active"}),
                    json!({"phase": "Terminating"}),
                    json!({}),
                ],
            ),
            _ => pick(
                &mut self.rng,
                &[
                    json!({"phase": "Ready"}),
                    json!({"conditions": [{"type": "A", "status": "True"}]}),
                    json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "False", "reason": "R"}]}),
                    json!({"replicas": 2}),
                    json!({"phase": 5}),
                    json!({"unknown": 5}),
                ],
            ),
        }
    }

    /// A patch of a scale, which is an object of its own kind.
    fn scale(&mut self, one: &str) -> Request {
        let path = format!("{one}/scale");
        let request = Request::new("PATCH", path);
        let change = pick(
            &mut self.rng,
            &[
                json!({"spec": {"replicas": 0}}),
                json!({"spec": {"replicas": 1}}),
                json!({"spec": {"replicas": 3}}),
                json!({"spec": {"replicas": 3}}),
                json!({"spec": {"replicas": -1}}),
                json!({"spec": {"replicas": "3"}}),
                json!({"spec": {"replicas": null}}),
                json!({"spec": {"nonsense": 1}}),
                json!({"spec": null}),
                json!({"status": {"replicas": 9}}),
                json!({"metadata": {"labels": {"app": "x"}}}),
                json!({"metadata": {"name": "other"}}),
                json!({"metadata": {"resourceVersion": "1"}}),
                json!({"metadata": {"uid": "x"}}),
                json!({"kind": "Other"}),
                json!({}),
            ],
        );
        let request = match self.rng.usize(..3) {
            0 => request.body(MERGE, change),
            1 => request.body(STRATEGIC, change),
            _ => {
                let operations = [
                    json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]),
                    json!([{"op": "add", "path": "/spec/replicas", "value": 2}]),
                    json!([{"op": "remove", "path": "/spec/replicas"}]),
                    json!([{"op": "test", "path": "/spec/replicas", "value": 1}]),
                    json!([{"op": "replace", "path": "/metadata/name", "value": "other"}]),
                    json!([]),
                ];
                request.body(PATCH, pick(&mut self.rng, &operations))
            }
        };
        self.options(request)
    }

    pub(super) fn patch(&mut self, kind: &Kind, one: &str) -> Request {
        if kind.scale && once_in(&mut self.rng, 6) {
            return self.scale(one);
        }
        let status = kind.status && once_in(&mut self.rng, 4);
        let path = if status {
            format!("{one}/status")
        } else {
            one.to_owned()
        };
        let mut merges = vec![
            json!({"metadata": {"labels": {"app": "x"}}}),
            json!({"metadata": {"labels": {"app": "y", "more": "1"}}}),
            json!({"metadata": {"labels": null}}),
            json!({"metadata": {"annotations": {"note": "9", "gone": null}}}),
            json!({"metadata": {"finalizers": null}}),
            json!({"metadata": {"finalizers": ["example.com/z"]}}),
            json!({"metadata": {"resourceVersion": "1"}}),
            json!({"metadata": {"name": "other"}}),
            json!({"metadata": {"uid": "x"}}),
            json!({"kind": "Other"}),
            json!({"nonsense": 1}),
            json!({}),
        ];
        let own: Vec<Value> = match kind.name {
            "ConfigMap" => vec![
                json!({"data": {"one": "new"}}),
                json!({"data": {"one": null}}),
                json!({"data": null}),
                json!({"data": {"one": 5}}),
                json!({"immutable": true}),
            ],
            "Secret" => vec![
                json!({"stringData": {"one": "new"}}),
                json!({"data": {"one": null}}),
                json!({"type": "Other"}),
            ],
            "Service" => vec![
                json!({"spec": {"type": "NodePort"}}),
                json!({"spec": {"type": "ClusterIP"}}),
                json!({"spec": {"selector": {"app": "q"}}}),
                json!({"spec": {"ports": [{"port": 80, "name": "http"}]}}),
                json!({"spec": {"ports": [{"port": 81, "targetPort": 1}]}}),
                json!({"spec": {"clusterIP": "1.1.1.1"}}),
                json!({"spec": {"externalName": "x.example", "type": "ExternalName"}}),
            ],
            "Pod" => vec![
                json!({"spec": {"containers": [{"name": "main", "image": "other:2"}]}}),
                json!({"spec": {"terminationGracePeriodSeconds": 7}}),
                json!({"spec": {"terminationGracePeriodSeconds": -7}}),
                json!({"spec": {"activeDeadlineSeconds": 7}}),
                json!({"spec": {"activeDeadlineSeconds": 9}}),
                json!({"spec": {"activeDeadlineSeconds": 0}}),
                json!({"spec": {"activeDeadlineSeconds": null}}),
                json!({"spec": {"schedulingGates": [{"name": "example.com/gate"}]}}),
                json!({"spec": {"schedulingGates": null}}),
                json!({"spec": {"nodeSelector": {"disk": "new"}}}),
                json!({"spec": {"hostNetwork": true, "securityContext": {"runAsUser": 7}}}),
                json!({"spec": {"volumes": [{"name": "new", "emptyDir": {}}]}}),
                json!({"spec": {"containers": [{"name": "main", "image": " padded "}]}}),
                json!({"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "3"}}}]}}),
                json!({"spec": {"nodeName": "n"}}),
                json!({"spec": {"tolerations": [{"key": "new", "operator": "Exists"}]}}),
            ],
            "Deployment" => vec![
                json!({"spec": {"replicas": 4}}),
                json!({"spec": {"replicas": null}}),
                json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other:2"}]}}}}),
                json!({"spec": {"template": {"spec": {"containers": [{"name": "added", "image": "added:1"}]}}}}),
                json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}),
                json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "A", "value": "7"}]}]}}}}),
                json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "A", "$patch": "delete"}]}]}}}}),
                json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "ports": [{"containerPort": 80, "name": "web"}]}]}}}}),
                json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "side"}, {"name": "main"}], "containers": [{"name": "main", "image": "z"}]}}}}),
                json!({"spec": {"template": {"spec": {"volumes": [{"name": "v", "$patch": "replace"}]}}}}),
                json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
                json!({"spec": {"selector": {"matchLabels": {"new": "label"}}}}),
                json!({"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}),
                json!({"spec": {"template": {"$patch": "replace", "spec": {"containers": [{"name": "only", "image": "only"}]}}}}),
            ],
            "Thing" => vec![
                json!({"spec": {"size": 7}}),
                json!({"spec": {"size": 70}}),
                json!({"spec": {"mode": null}}),
                json!({"spec": {"nested": null}}),
                json!({"spec": {"fixed": "c"}}),
                json!({"spec": {"parts": [{"id": "n"}]}}),
                json!({"spec": {"unknown": 1}}),
                json!({"spec": {"low": 100}}),
            ],
            "RoleBinding" => vec![
                json!({"roleRef": {"name": "changed"}}),
                json!({"subjects": []}),
                json!({"subjects": [{"kind": "User", "name": "joe"}]}),
            ],
            "Role" | "ClusterRole" => vec![json!({"rules": []}), json!({"rules": null})],
            "ServiceAccount" => vec![
                json!({"secrets": [{"name": "z"}]}),
                json!({"imagePullSecrets": [{"name": "x", "$patch": "delete"}]}),
                json!({"imagePullSecrets": [{"name": "z"}]}),
            ],
            "World" => vec![
                json!({"spec": {"level": null}}),
                json!({"free": {"b": {"c": null, "d": 1}}}),
            ],
            "VirtualRouter" => vec![
                json!({"spec": {"routes": [{"name": "a", "httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": []}}}]}}),
            ],
            _ => vec![],
        };
        for one in own {
            merges.push(one.clone());
            merges.push(one);
        }
        if status {
            let status = self.status(kind);
            merges = vec![json!({"status": status}), json!({"status": null})];
        }
        if once_in(&mut self.rng, 12) {
            let at = self.rng.usize(..merges.len());
            self.damage(&mut merges[at]);
            merges = vec![merges.swap_remove(at)];
        }
        // A status is patched with what is in it.
        let request = match self.rng.usize(..if status { 7 } else { 10 }) {
            0..4 => Request::new("PATCH", path).body(MERGE, pick(&mut self.rng, &merges)),
            4..7 => Request::new("PATCH", path).body(STRATEGIC, pick(&mut self.rng, &merges)),
            _ => {
                let operations = [
                    json!([{"op": "add", "path": "/metadata/labels", "value": {"app": "p"}}]),
                    json!([{"op": "add", "path": "/metadata/labels/app", "value": "q"}]),
                    json!([{"op": "remove", "path": "/metadata/labels/app"}]),
                    json!([{"op": "replace", "path": "/metadata/labels/app", "value": "r"}]),
                    json!([{"op": "test", "path": "/metadata/labels/app", "value": "x"}, {"op": "remove", "path": "/metadata/labels/app"}]),
                    json!([{"op": "remove", "path": "/metadata/finalizers"}]),
                    json!([{"op": "add", "path": "/metadata/annotations", "value": {"a~b": "1"}}]),
                    json!([{"op": "copy", "from": "/metadata/labels/app", "path": "/metadata/labels/copied"}]),
                    json!([{"op": "move", "from": "/metadata/labels/app", "path": "/metadata/labels/moved"}]),
                    json!([{"op": "replace", "path": "/spec/replicas", "value": 6}]),
                    json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "patched"}]),
                    json!([{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "json", "image": "json"}}]),
                    json!([{"op": "add", "path": "/data/one", "value": "patched"}]),
                    json!([{"op": "nonsense", "path": "/data"}]),
                    json!([{"op": "replace", "path": "/metadata/name", "value": "other"}]),
                    json!({"op": "add"}),
                    json!([]),
                ];
                Request::new("PATCH", path).body(PATCH, pick(&mut self.rng, &operations))
            }
        };
        self.options(request)
    }
}
