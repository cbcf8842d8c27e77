"""The files beside the rows: a dataset card, Croissant, the EU summary's section, and a layout's own.

They say what the tables know. A licence is not among it, so that each of them names it as open.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import yaml

from persyn.exports.manifest import BELOW_BAR, ExportedFile, Manifest
from persyn.exports.rows import RunFacts
from persyn.exports.selection import Tally

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_CROISSANT_TYPES = {pa.int64(): "sc:Integer", pa.float64(): "sc:Float", pa.string(): "sc:Text"}
_LOADERS = {
    "prompt_completion": "TRL's `SFTTrainer` takes the loss over the completion alone.",
    "messages": "TRL's `SFTTrainer` takes the loss over the whole text, the prompt's too, unless you set"
    " `assistant_only_loss=True`.",
    "preference": "TRL's `DPOTrainer` reads it as it is.",
    "llamafactory": "Put the folder where `dataset_dir` points, or its entry of `dataset_info.json` into yours. For a"
    " reasoning model set `enable_thinking` as your answers need it: LLaMA-Factory adds an empty thought otherwise.",
    "axolotl": "Copy the lines of `axolotl.yaml` into your configuration.",
    "verl": "`data_source` is the prompt set's name: give verl a reward function for it, and set `max_prompt_length`"
    " and `truncation` by the longest row.",
    "openai": "Upload the file as it is; it has no further column.",
}


CONTAMINATION = "contamination.jsonl"


class Origin(NamedTuple):
    """All that the documents tell of."""

    facts: RunFacts
    tally: Tally
    schema: pa.Schema


def documents(manifest: Manifest, origin: Origin) -> Iterator[tuple[str, str]]:
    """Names and texts."""
    yield "README.md", _card(manifest, origin)
    yield "croissant.json", _json(_croissant(manifest, origin))
    yield "eu_summary.md", _eu_summary(manifest, origin)
    if manifest.benchmarks:
        yield CONTAMINATION, _contamination(origin.tally)
    with_tools = "tools" in origin.schema.names
    if manifest.layout == "llamafactory":
        yield "dataset_info.json", _json(_llamafactory(manifest, with_tools=with_tools))
    if manifest.layout == "axolotl":
        yield "axolotl.yaml", yaml.safe_dump(_axolotl(manifest, with_tools=with_tools), sort_keys=False)


def names(layout: str, *, with_benchmarks: bool = False) -> list[str]:
    """The names that `documents` gives for a layout."""
    further = {"llamafactory": ["dataset_info.json"], "axolotl": ["axolotl.yaml"]}
    report = [CONTAMINATION] if with_benchmarks else []
    return ["README.md", "croissant.json", "eu_summary.md", *report, *further.get(layout, [])]


def _card(manifest: Manifest, origin: Origin) -> str:
    """The dataset card; its head tells `datasets` and the hub which files to read, and the types of their columns."""
    files = _files_to_read(manifest.files)
    splits = {file.split: [other.name for other in files if other.split == file.split] for file in files}
    size = next((name for limit, name in _SIZES if manifest.rows < limit), "n>1M")
    head = {
        "pretty_name": manifest.run,
        "annotations_creators": ["machine-generated"],
        "tags": ["synthetic", "persyn"],
        "size_categories": [size],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": paths} for split, paths in splits.items()],
            }
        ],
        "dataset_info": {"features": [_feature(field) for field in origin.schema]},
    }
    teachers = "\n".join(
        f"| {teacher.name} | {_cell(teacher.model)} | {_cell(teacher.revision)} |"
        f" {manifest.rows_by_teacher.get(teacher.name, 0):,} |"
        for teacher in origin.facts.teachers
    )
    return f"""---
{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---

# {manifest.run}

Synthetic training data for the student **{manifest.student}**, made by PerSyn {manifest.export_code_version}: each
prompt of the set {origin.facts.prompt_set} was answered by the teacher that the policy `{manifest.policy}` chose.

{manifest.outcome()}. The longest row has {manifest.longest_row:,} characters. `manifest.json` has all counts, and the
sha256 of every file.

Layout `{manifest.layout}`. {_LOADERS[manifest.layout]}

| teacher | model | revision | rows |
|---|---|---|---:|
{teachers}

The licences of the prompts and of the teachers' models are not known to PerSyn: add them before you publish this.
"""


def _files_to_read(files: Sequence[ExportedFile]) -> list[ExportedFile]:
    """The files of one format, because a reader of several would have each row twice: Parquet where there is any.

    What stayed below the bar is for no reader.
    """
    format = "parquet" if any(file.format == "parquet" for file in files) else "jsonl"
    return [file for file in files if file.format == format and file.split != BELOW_BAR]


def _feature(field: pa.Field) -> dict[str, Any]:
    """A column as a dataset card's `dataset_info` writes it."""
    if pa.types.is_list(field.type) and isinstance(field.type.value_type, pa.JsonType):
        return {"name": field.name, "list": "json"}
    if pa.types.is_list(field.type):
        parts = field.type.value_type
        return {"name": field.name, "list": [_feature(part) for part in parts]}
    if pa.types.is_struct(field.type):
        return {"name": field.name, "struct": [_feature(part) for part in field.type]}
    names = {pa.int64(): "int64", pa.float64(): "float64", pa.string(): "string", pa.json_(): "json"}
    return {"name": field.name, "dtype": names[field.type]}


def _croissant(manifest: Manifest, origin: Origin) -> dict[str, Any]:
    """Croissant 1.1 (MLCommons, 2026): the files with their sha256, the columns, and who made each row."""
    media = {"jsonl": "application/jsonlines", "parquet": "application/vnd.apache.parquet"}
    first = _files_to_read(manifest.files)[:1]
    return {
        "@context": _CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": manifest.run,
        "description": f"Synthetic training data for the student {manifest.student}: {manifest.outcome()}.",
        "license": "https://spdx.org/licenses/NOASSERTION",
        "url": f"urn:persyn:{manifest.config_sha256}",
        "creator": {"@type": "sc:Organization", "name": f"The owner of the run {manifest.run}"},
        "datePublished": _day(origin.tally.last),
        "version": "1.0.0",
        "rai:dataCollection": "Answers of language models to given prompts; one teacher for each prompt.",
        "rai:dataCollectionType": ["Software Collection"],
        "rai:dataCollectionTimeframe": [_day(origin.tally.first), _day(origin.tally.last)],
        "rai:machineAnnotationTools": [f"PerSyn {manifest.run_code_version}"],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:wasAssociatedWith": [
                {"@type": "prov:SoftwareAgent", "name": teacher.name, "identifier": _model(teacher)}
                for teacher in origin.facts.teachers
            ],
        },
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": file.name, "name": file.name, "contentUrl": file.name,
                "contentSize": f"{file.bytes} B", "encodingFormat": media[file.format], "sha256": file.sha256,
            }
            for file in manifest.files
        ],
        "recordSet": [_record_set(file, origin.schema) for file in first],
    }  # fmt: skip


def _record_set(file: ExportedFile, schema: pa.Schema) -> dict[str, Any]:
    fields = []
    for column in schema:
        field: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"rows/{column.name}",
            "name": column.name,
            "dataType": _CROISSANT_TYPES.get(column.type, "sc:Text"),
            "source": {"fileObject": {"@id": file.name}, "extract": {"column": column.name}},
        }
        if column.name in ("teacher", "chosen_teacher"):
            field["equivalentProperty"] = "prov:wasAttributedTo"
        fields.append(field)
    return {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}


def _eu_summary(manifest: Manifest, origin: Origin) -> str:
    """Section 2.5, synthetic data, of the summary that Article 53(1)(d) of the EU's AI Act asks for."""
    teachers = "\n".join(
        f"| {teacher.name} | {_cell(teacher.model)} | {_cell(teacher.revision)} | {teacher.family} |"
        f" {manifest.rows_by_teacher.get(teacher.name, 0):,} | {origin.tally.tokens_by_teacher[teacher.name]:,} |"
        for teacher in origin.facts.teachers
    )
    return f"""# 2.5 Synthetic data: {manifest.run}

For the public summary of training content by Article 53(1)(d) of Regulation (EU) 2024/1689. The first part is what the
database knows; the second is yours to fill in.

- Synthetic data was made for training: yes, text.
- Period: {_day(origin.tally.first)} to {_day(origin.tally.last)}.
- Amount: {manifest.outcome()}.
- Origin of the prompts: the set {origin.facts.prompt_set}.
- Made by: PerSyn {manifest.run_code_version}, run {manifest.run}, policy {manifest.policy}, configuration
  {manifest.config_sha256}.

| teacher | model | revision | family | rows | tokens |
|---|---|---|---|---:|---:|
{teachers}

To be filled in: each model's provider, licence and own summary of training content; the prompts' licence and origin.
"""


def _contamination(tally: Tally) -> str:
    """A line for each row that was left out: its prompt, the benchmark's item, and words that both have."""
    lines = [
        {"prompt_id": answer.prompt_id, "external_id": answer.external_id} | match._asdict()
        for answer, match in tally.matches
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _llamafactory(manifest: Manifest, *, with_tools: bool) -> dict[str, Any]:
    """An entry for each file, as LLaMA-Factory's `dataset_info.json` wants messages in OpenAI's form."""
    tags = {
        "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
        "system_tag": "system",
    }  # fmt: skip
    columns = {"messages": "messages"}
    if with_tools:
        columns["tools"] = "tools"
        tags |= {"observation_tag": "observation", "function_tag": "function_call"}
    return {
        f"{manifest.run}{'' if file.split == 'train' else '-validation'}{_number(file)}": {
            "file_name": file.name, "formatting": "sharegpt", "columns": columns, "tags": tags,
        }
        for file in _files_to_read(manifest.files)
    }  # fmt: skip


def _number(file: ExportedFile) -> str:
    """The part of a shard's name that tells it from the others."""
    return file.name.removeprefix(file.split).partition(".")[0]


def _axolotl(manifest: Manifest, *, with_tools: bool) -> dict[str, Any]:
    keys = ["role", "content", *(["reasoning_content"] if manifest.reasoning == "field" else [])]
    entries: dict[str, Any] = {}
    for file in _files_to_read(manifest.files):
        entry = {
            "path": file.name, "ds_type": "json" if file.format == "jsonl" else "parquet", "type": "chat_template",
            "field_messages": "messages", "message_property_mappings": {key: key for key in keys},
            "roles_to_train": ["assistant"],
        } | ({"field_tools": "tools"} if with_tools else {})  # fmt: skip
        entries.setdefault("datasets" if file.split == "train" else "test_datasets", []).append(entry)
    return entries


def _model(teacher: Any) -> str:
    return f"{teacher.model or teacher.name}" + (f"@{teacher.revision}" if teacher.revision else "")


def _day(moment: Any) -> str:
    return moment.date().isoformat() if moment else ""


def _cell(value: str | None) -> str:
    return (value or "not known").replace("|", "\\|")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


# Croissant's own context, and PROV beside it.
_CROISSANT_TERMS = [
    "arrayShape",
    "citeAs",
    "column",
    "containedIn",
    "equivalentProperty",
    "extract",
    "field",
    "fileObject",
    "fileProperty",
    "fileSet",
    "format",
    "includes",
    "isArray",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
]
_CROISSANT_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _CROISSANT_TERMS},
}
