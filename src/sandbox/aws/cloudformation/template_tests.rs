use super::*;

fn refused(text: &str) -> String {
    Template::parse(text).unwrap_err()
}

#[test]
fn both_notations_mean_the_same() {
    let yaml = Template::parse(
        "Resources:\n  Vpc:\n    Type: AWS::EC2::VPC\n    Properties:\n      CidrBlock: 10.0.0.0/16\n  Subnet:\n    \
         Type: AWS::EC2::Subnet\n    Properties:\n      VpcId: !Ref Vpc\n      CidrBlock: !Select [0, !Cidr [!GetAtt \
         Vpc.CidrBlock, 1, 8]]\n",
    )
    .unwrap();
    let json = Template::parse(
        r#"{"Resources": {"Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
        "Subnet": {"Type": "AWS::EC2::Subnet", "Properties": {"VpcId": {"Ref": "Vpc"},
        "CidrBlock": {"Fn::Select": [0, {"Fn::Cidr": [{"Fn::GetAtt": ["Vpc", "CidrBlock"]}, 1, 8]}]}}}}}"#,
    )
    .unwrap();
    assert_eq!(yaml, json);
    let needed = yaml.dependencies(&yaml.section("Resources")["Subnet"]);
    assert_eq!(needed.into_iter().collect::<Vec<_>>(), ["Vpc"]);
}

#[test]
fn broken_templates_are_refused_in_the_services_words() {
    assert!(refused("a: [").starts_with("Template format error: YAML not well-formed. (line"));
    assert!(
        refused("{\"a\": }").starts_with("Template format error: JSON not well-formed. (line 1")
    );
    assert_eq!(
        refused("Resources: {}"),
        "Template format error: At least one Resources member must be defined."
    );
    assert_eq!(
        refused("Resources:\n  A:\n    Type: AWS::Nope::Thing\n"),
        "Template format error: Unrecognized resource types: [AWS::Nope::Thing]"
    );
    assert_eq!(
        refused(
            "Resources:\n  A:\n    Type: AWS::EC2::Subnet\n    Properties:\n      VpcId: !Ref B\n"
        ),
        "Template format error: Unresolved resource dependencies [B] in the Resources block of the template"
    );
    assert_eq!(
        refused(
            "Resources:\n  A:\n    Type: AWS::EC2::VPC\n    DependsOn: B\n  B:\n    Type: AWS::EC2::VPC\n    DependsOn: [A]\n"
        ),
        "Circular dependency between resources: [A, B]"
    );
    assert_eq!(
        refused(
            "Resources:\n  A:\n    Type: AWS::EC2::VPC\nOutputs:\n  O:\n    Value: !GetAtt A.Colour\n"
        ),
        "Template error: resource A does not support attribute type Colour in Fn::GetAtt"
    );
    assert_eq!(
        refused("Resource: {}"),
        "Invalid template property or properties [Resource]"
    );
    assert!(
        refused("Resources:\n  A:\n    Type: AWS::EC2::VPC\n    Properties:\n")
            .contains("'null' values are not allowed")
    );
}

#[test]
fn hostile_templates_are_refused_and_end() {
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, \
                *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, \
                *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f, *f, *f, *f]\n";
    refused(bomb);
    refused(&"[".repeat(5_000));
    refused(&format!(
        "Resources: {}1{}",
        "{a: ".repeat(2_000),
        "}".repeat(2_000)
    ));
    refused(&format!("{{\"Resources\": {}", "{\"a\":".repeat(5_000)));
    refused("Resources: [1, 2]");
    refused("Resources: {A: 1}");
    refused("Resources: {A: {Type: 5}}");
    refused("Resources: {A: {Type: 'AWS::EC2::VPC', Properties: [1]}}");
    refused("Resources: {'É': {Type: 'AWS::EC2::VPC'}}");
    refused("Resources: {A: {Type: 'AWS::EC2::VPC'}}\nResources: {B: {Type: 'AWS::EC2::VPC'}}");
    refused("Resources: {A: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: !Evil x}}}");
    refused("Resources: {A: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: !Ref 'AWS::Nope'}}}");
    refused("Parameters: {P: {Type: Secret}}\nResources: {A: {Type: 'AWS::EC2::VPC'}}");
    refused("\u{feff}\u{0}");
    refused("");
    assert!(refused(&"#".repeat(60_000)).contains("length less than or equal to 51200"));
}

#[test]
fn the_stacks_of_the_project_parse() {
    for text in [
        include_str!("../../../../stacks/network.yaml"),
        include_str!("../../../../stacks/roles.yaml"),
        include_str!("../../../../stacks/nodes.yaml"),
    ] {
        Template::parse(text).unwrap();
    }
}
