"""Manifests: YAML bytes to typed objects or located errors.

:func:`read_file` reads one file, :func:`collect` checks the files of a tree together, and
:func:`values_with` takes the fields of a section that are in a key or in an execution hash::

    content = read_file("models/falcon.yaml", data)
    found = collect([content])
    for ref, manifest in found.objects.items():
        ...

Pure: no I/O. The names below are all that other packages use.
"""

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports
from reconciler.manifests import patterns

if TYPE_CHECKING:
    from reconciler.manifests.admission import Admission
    from reconciler.manifests.change import ParamChange, changed
    from reconciler.manifests.collection import (
        Collection,
        amend,
        check_folders,
        collect,
    )
    from reconciler.manifests.edit import CannotEditError, annotate, replace_value, set_suspend
    from reconciler.manifests.effects import (
        ACCEPT_ANNOTATION,
        ANNOTATION_EFFECTS,
        CANCEL_ANNOTATION,
        FORMERLY_ANNOTATION,
        PRUNE_ANNOTATION,
        RETRY_ANNOTATION,
        UPDATE_ANNOTATION,
        Effect,
        effect_at,
        values_with,
    )
    from reconciler.manifests.fields import (
        Bytes,
        GitRef,
        LabelKey,
        LabelValue,
        Name,
        RepositoryPath,
        Seconds,
        Section,
        Subdomain,
        parse_duration,
    )
    from reconciler.manifests.gate_lines import GateLine
    from reconciler.manifests.ignore import Ignore
    from reconciler.manifests.json_schema import EFFECT, kind_schema
    from reconciler.manifests.loader import (
        BASE_FIELD,
        DATASET_FIELD,
        EVALUATION_DATASET_FIELD,
        FileContent,
        Manifest,
        identity_of,
        read_file,
    )
    from reconciler.manifests.matrix import (
        MOST_COMBINATIONS,
        BestSection,
        Combination,
        MatrixSection,
    )
    from reconciler.manifests.messages import described, did_you_mean
    from reconciler.manifests.paths import IGNORE_FILE, is_manifest_path
    from reconciler.manifests.patterns import GPU_TYPE, KEY, LABEL_KEY, LABEL_VALUE, NAME
    from reconciler.manifests.schema import (
        BuildSection,
        CommandSection,
        DatasetManifest,
        EvaluationSection,
        LoadSection,
        ModelManifest,
        ModelSpec,
        RunSection,
        TrainingSection,
    )
    from reconciler.manifests.sources import (
        BucketSection,
        GitSection,
        ModelSource,
        ObservedBucketSection,
        Reference,
    )
    from reconciler.manifests.tenancy import Tenancy
    from reconciler.manifests.tenants import ANY_GPU, Tenant, Tenants
    from reconciler.manifests.yaml import LARGEST_FILE, place, read_documents, shown_path, validate
    from reconciler.manifests.yaml_nodes import Path, TextBounds
    from reconciler.manifests.yaml_scalars import FIRST_RESOLVED, resolve_scalar

_MODULES = {
    "ACCEPT_ANNOTATION": "effects",
    "ANNOTATION_EFFECTS": "effects",
    "ANY_GPU": "tenants",
    "Admission": "admission",
    "BASE_FIELD": "loader",
    "BestSection": "matrix",
    "BucketSection": "sources",
    "BuildSection": "schema",
    "Bytes": "fields",
    "CANCEL_ANNOTATION": "effects",
    "CannotEditError": "edit",
    "Collection": "collection",
    "Combination": "matrix",
    "CommandSection": "schema",
    "DATASET_FIELD": "loader",
    "DatasetManifest": "schema",
    "EFFECT": "json_schema",
    "EVALUATION_DATASET_FIELD": "loader",
    "Effect": "effects",
    "EvaluationSection": "schema",
    "FIRST_RESOLVED": "yaml_scalars",
    "FORMERLY_ANNOTATION": "effects",
    "FileContent": "loader",
    "GPU_TYPE": "patterns",
    "GateLine": "gate_lines",
    "GitRef": "fields",
    "GitSection": "sources",
    "IGNORE_FILE": "paths",
    "Ignore": "ignore",
    "KEY": "patterns",
    "LABEL_KEY": "patterns",
    "LABEL_VALUE": "patterns",
    "LARGEST_FILE": "yaml",
    "LabelKey": "fields",
    "LabelValue": "fields",
    "LoadSection": "schema",
    "MOST_COMBINATIONS": "matrix",
    "Manifest": "loader",
    "MatrixSection": "matrix",
    "ModelManifest": "schema",
    "ModelSource": "sources",
    "ModelSpec": "schema",
    "NAME": "patterns",
    "Name": "fields",
    "ObservedBucketSection": "sources",
    "PRUNE_ANNOTATION": "effects",
    "ParamChange": "change",
    "Path": "yaml_nodes",
    "RETRY_ANNOTATION": "effects",
    "Reference": "sources",
    "RepositoryPath": "fields",
    "RunSection": "schema",
    "Seconds": "fields",
    "Section": "fields",
    "Subdomain": "fields",
    "Tenancy": "tenancy",
    "Tenant": "tenants",
    "Tenants": "tenants",
    "TextBounds": "yaml_nodes",
    "TrainingSection": "schema",
    "UPDATE_ANNOTATION": "effects",
    "amend": "collection",
    "annotate": "edit",
    "changed": "change",
    "check_folders": "collection",
    "collect": "collection",
    "described": "messages",
    "did_you_mean": "messages",
    "effect_at": "effects",
    "identity_of": "loader",
    "is_manifest_path": "paths",
    "kind_schema": "json_schema",
    "parse_duration": "fields",
    "place": "yaml",
    "read_documents": "yaml",
    "read_file": "loader",
    "replace_value": "edit",
    "resolve_scalar": "yaml_scalars",
    "set_suspend": "edit",
    "shown_path": "yaml",
    "validate": "yaml",
    "values_with": "effects",
}
__getattr__ = lazy_exports(__name__, _MODULES)

__all__ = [
    "ACCEPT_ANNOTATION",
    "ANNOTATION_EFFECTS",
    "ANY_GPU",
    "BASE_FIELD",
    "CANCEL_ANNOTATION",
    "DATASET_FIELD",
    "EFFECT",
    "EVALUATION_DATASET_FIELD",
    "FIRST_RESOLVED",
    "FORMERLY_ANNOTATION",
    "GPU_TYPE",
    "IGNORE_FILE",
    "KEY",
    "LABEL_KEY",
    "LABEL_VALUE",
    "LARGEST_FILE",
    "MOST_COMBINATIONS",
    "NAME",
    "PRUNE_ANNOTATION",
    "RETRY_ANNOTATION",
    "UPDATE_ANNOTATION",
    "Admission",
    "BestSection",
    "BucketSection",
    "BuildSection",
    "Bytes",
    "CannotEditError",
    "Collection",
    "Combination",
    "CommandSection",
    "DatasetManifest",
    "Effect",
    "EvaluationSection",
    "FileContent",
    "GateLine",
    "GitRef",
    "GitSection",
    "Ignore",
    "LabelKey",
    "LabelValue",
    "LoadSection",
    "Manifest",
    "MatrixSection",
    "ModelManifest",
    "ModelSource",
    "ModelSpec",
    "Name",
    "ObservedBucketSection",
    "ParamChange",
    "Path",
    "Reference",
    "RepositoryPath",
    "RunSection",
    "Seconds",
    "Section",
    "Subdomain",
    "Tenancy",
    "Tenant",
    "Tenants",
    "TextBounds",
    "TrainingSection",
    "amend",
    "annotate",
    "changed",
    "check_folders",
    "collect",
    "described",
    "did_you_mean",
    "effect_at",
    "identity_of",
    "is_manifest_path",
    "kind_schema",
    "parse_duration",
    "patterns",
    "place",
    "read_documents",
    "read_file",
    "replace_value",
    "resolve_scalar",
    "set_suspend",
    "shown_path",
    "validate",
    "values_with",
]
