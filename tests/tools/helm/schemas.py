"""Writes JSON schemas for kubeconform, from the OpenAPI description of Kubernetes and from custom resource definitions.

usage: schemas.py OUT SWAGGER.json [DEFINITION.yaml ...]

One file for each kind, OUT/GROUP_VERSION_KIND.json in lower case; the core group is called by its version. Fields that a
type does not have are errors, which the descriptions leave open.
"""

import json
import pathlib
import sys

import yaml


def main(out, swagger, *manifests):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    types = json.loads(pathlib.Path(swagger).read_text())["definitions"]
    for type_ in types.values():
        for kind in type_.get("x-kubernetes-group-version-kind", []):
            if "metadata" in type_.get("properties", {}):
                group = kind["group"] or kind["version"]
                write(out, group, kind["version"], kind["kind"], strict(type_, types))
    for manifest in manifests:
        for definition in yaml.safe_load_all(pathlib.Path(manifest).read_text()):
            if definition and definition["kind"] == "CustomResourceDefinition":
                spec = definition["spec"]
                for version in spec["versions"]:
                    schema = strict(version["schema"]["openAPIV3Schema"], types)
                    schema["properties"]["metadata"] = {"type": "object"}
                    write(out, spec["group"], version["name"], spec["names"]["kind"], schema)


def strict(node, types, within=()):
    """The same schema without references, and closed to further fields."""
    if isinstance(node, list):
        return [strict(item, types, within) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        # A type within itself is left open.
        if name in within or name.endswith("JSONSchemaProps"):
            return {}
        node = types[name]
        within += (name,)
    if node.get("format") == "int-or-string" or node.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer", "null"]}
    kept = {
        key: strict(value, types, within)
        for key, value in node.items()
        if not key.startswith("x-") and key not in ("description", "default")
    }
    is_closed = kept.get("type") == "object" and isinstance(kept.get("properties"), dict)
    if is_closed and "additionalProperties" not in kept and not node.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    # An API server takes null for a field that is not there.
    if isinstance(kept.get("type"), str) and within:
        kept["type"] = [kept["type"], "null"]
    return kept


def write(out, group, version, kind, schema):
    schema.setdefault("properties", {}).update(apiVersion={"type": "string"}, kind={"type": "string"})
    (out / f"{group}_{version}_{kind.lower()}.json").write_text(json.dumps(schema))


main(*sys.argv[1:])
