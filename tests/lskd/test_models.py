"""Networks: names, shapes and costs of all 34, numbers of those with a fixture, training steps, committed students."""

from __future__ import annotations

import copy
import functools
import gzip
import json
import math
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from figures.fingerprint import ROOT
from lskd.data import load_dataset
from lskd.data.download import data_root
from lskd.models import create_model, list_models, load_checkpoint, model_info
from lskd.models.transformer import DropPath, TokenNetwork
from lskd.objectives import Logits, create_objective
from lskd.torchvision import import_torchvision
from lskd.trainer.evaluation import evaluate

GOLDEN = Path(__file__).parents[1] / "golden"


@functools.cache
def known_models() -> dict[str, dict[str, Any]]:
    """By name: input, logits, parameters, trainable, multiply_adds, pooled_feature, stages, state (key, shape)."""
    return json.loads(gzip.decompress((GOLDEN / "models.json.gz").read_bytes()))


def fill(model: nn.Module, salt: str = "") -> nn.Module:
    """Fill in place with what the fixtures were made with, and return the model.

    Every entry of a state dict is drawn from a generator seeded by the CRC-32 of ``salt + key``; scales keep
    activations near one.
    """
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            tensor.copy_(torch.from_numpy(filled(key, tuple(tensor.shape), salt)))
    return model


def filled(key: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    """The float64 values of one entry."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    generator = np.random.RandomState(zlib.crc32((salt + key).encode()))
    z = generator.standard_normal(math.prod(shape)).reshape(shape)
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(z)
    if not key.endswith("running_mean") and len(shape) >= 2:
        return z / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * z if key.endswith("weight") else 0.1 * z


def images(seed: int, shape: tuple[int, ...] = (4, 3, 32, 32)) -> Tensor:
    """The float64 input of a fixture."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


SPELLINGS = list(known_models())  # of the specification; lists the same networks as list_models()
FIXTURES = [path.stem for pattern in ("model_*", "imagenet_*", "vit_*") for path in sorted(GOLDEN.glob(pattern))]
TRAJECTORIES = sorted(path.stem for path in GOLDEN.glob("traj_*"))


def network_of(fixture: str) -> str:
    """Name of the network; a size of the images may follow, as in ``vit_PVT-Tiny@96x128``."""
    kind, _, name = fixture.partition("@")[0].partition("_")
    return name if kind == "model" else f"{kind}/{name}"


def close(found: Tensor, expected: np.ndarray, rtol: float = 1e-9) -> None:
    """Relative to each value, with the smallest values, which are differences of large ones, relative to the spread."""
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=rtol * expected.std() / 100)


def test_every_known_network_is_listed_once_and_fixtures_are_there() -> None:
    assert sorted(model_info(name).name for name in SPELLINGS) == sorted(list_models())
    assert (len(SPELLINGS), len(FIXTURES), len(TRAJECTORIES)) == (34, 25, 5)


@pytest.mark.parametrize("name", SPELLINGS)
def test_keys_shapes_and_costs(name: str) -> None:
    known, info = known_models()[name], model_info(name)
    with torch.device("meta"):
        model = create_model(name).eval()
        image = torch.zeros(1, *known["input"])
    assert [[key, list(tensor.shape)] for key, tensor in model.state_dict().items()] == known["state"]
    assert info.parameters == known["parameters"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == known["trainable"]
    assert info.multiply_adds == known["multiply_adds"]
    assert [3, info.input_size, info.input_size] == known["input"]
    assert info.classes == known["logits"]
    assert info.features == (known["pooled_feature"] or info.features)
    stages = model.run(image)[0] if isinstance(model, TokenNetwork) else model.stage_features(image)
    assert [list(stage.shape[1:]) for stage in stages] == known["stages"][-len(stages) :]


@pytest.mark.parametrize("fixture", FIXTURES)
def test_logits_and_features(fixture: str) -> None:
    g = np.load(GOLDEN / f"{fixture}.npz")
    name = network_of(fixture)
    single = g["logits"].dtype == np.float32
    model = create_model(name).to(torch.float32 if single else torch.float64)
    fill(model, str(g["salt"])).eval()
    x = images(int(g["input_seed"]), tuple(g["input_shape"]) if "input_shape" in g else (4, 3, 32, 32))
    with torch.no_grad():
        features, logits = model.forward_with_features(x.to(torch.float32 if single else torch.float64))
        if single:  # float32 is exact to its rounding only: relative to the spread of the logits
            np.testing.assert_allclose(logits, g["logits"], rtol=0, atol=1e-5 * g["logits"].std())
            return
        close(logits, g["logits"])
        if "pooled_feat" in g:
            close(features, g["pooled_feat"])
        if "distill_logits" in g:
            of_class, of_distillation = model.forward_heads(x)
            close(of_distillation, g["distill_logits"])
            close((of_class + of_distillation) / 2, g["logits"])
        if "float32_max_abs_err_over_std" in g:
            error = (model.float()(x.float()).double().numpy() - g["logits"]) / g["logits"].std()
            assert np.abs(error).max() < 1e-5


@pytest.mark.parametrize("name", ["resnet8x4", "wrn_16_2", "vgg8", "MobileNetV2", "ShuffleV2", "DeiT-Tiny", "PVT-Tiny"])
def test_all_ways_to_ask_agree_also_of_a_pickled_copy(name: str) -> None:
    model = fill(create_model(name)).eval()
    size = model_info(name).input_size
    x = images(3, (2, 3, size, size)).float()
    with torch.no_grad():
        features, logits = model.forward_with_features(x)
        stages, logits_too = model.forward_with_stages(x)
        assert torch.equal(model(x), logits)
        assert torch.equal(logits_too, logits)
        assert torch.equal(model.pooled_features(x), features)
        assert all(torch.equal(a, b) for a, b in zip(model.stage_features(x), stages, strict=True))
        given = list(model.parameters())  # to an optimiser
        model.use_released_batchnorm()
        assert all(a is b for a, b in zip(model.parameters(), given, strict=True))
        assert torch.equal(pickle.loads(pickle.dumps(copy.deepcopy(model)))(x), logits)
    assert features.shape == (2, model_info(name).features)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_transformer_computes_in_half_precision(dtype: torch.dtype) -> None:
    model = create_model("T2T-ViT-7").to(dtype).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 224, 224, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("fixture", TRAJECTORIES)
def test_five_training_steps(fixture: str) -> None:
    g = np.load(GOLDEN / f"{fixture}.npz")
    teacher = fill(create_model(str(g["teacher"])).double(), str(g["teacher_salt"])).eval()
    student = fill(create_model(str(g["student"])).double(), str(g["student_salt"])).train()
    student.use_released_batchnorm()
    method, seed, batch = str(g["method"]), int(g["input_seed"]), int(g["batch"])
    x, strong = images(seed, (batch, 3, 32, 32)), images(seed + 1, (batch, 3, 32, 32))
    y = torch.from_numpy(np.random.RandomState(seed + 2).randint(0, 100, batch))
    own = ("alpha", "beta") if method == "dkd" else ("kd_weight",)
    settings = {"temperature": float(g["T"]), **{name: float(g[name]) for name in own}}
    objective = create_objective(method, standardize=bool(g["logit_stand"]), **settings)
    if method == "dkd":
        objective.start_epoch(int(g["epoch"]))
    with torch.no_grad():
        v, v_strong = teacher(x), teacher(strong)
    close(v, g["teacher_logits_eval"])
    optimizer = torch.optim.SGD(student.parameters(), float(g["lr"]), momentum=0.9, weight_decay=5e-4)
    losses = []
    for _ in range(5):
        z, z_strong = student(x), student(strong) if objective.needs_strong else None
        terms = list(objective(Logits(z, y, v, z_strong, v_strong)).values())
        if method == "dkd":
            terms = [terms[0], terms[1] + terms[2]]
        loss = torch.stack(terms).sum()
        losses.append([*(float(term.detach()) for term in terms), float(loss.detach())])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(losses, g["losses"], rtol=1e-6)
    student.eval()
    with torch.no_grad():
        np.testing.assert_allclose(student(x), g["final_eval_logits"], rtol=1e-6, atol=1e-6)
    state = {key: tensor.double() for key, tensor in student.state_dict().items()}
    assert list(state) == g["state_keys"].tolist()
    sums = np.array([[float(tensor.sum()), float(tensor.square().sum())] for tensor in state.values()])
    np.testing.assert_allclose(sums, g["state_sum_sumsq"], rtol=1e-6, atol=1e-6)
    for key in (key for key in g if key.startswith("bn__")):
        np.testing.assert_allclose(state[key.removeprefix("bn__")].numpy(), g[key], rtol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", ["resnet8", "resnet8x4", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2"])
@pytest.mark.parametrize("size", [16, 48, 64])
def test_other_input_sizes(name: str, size: int) -> None:
    with torch.device("meta"):
        model = create_model(name, 7).eval()
        features, logits = model.forward_with_features(torch.zeros(2, 3, size, size))
    assert logits.shape == (2, 7)
    assert features.shape[1] == model_info(name).features


def test_vgg_pools_a_fourth_time_at_a_height_of_64_only() -> None:
    with torch.device("meta"):
        model = create_model("vgg8").eval()
        sides = [model.stage_features(torch.zeros(1, 3, side, side))[-1].shape[-1] for side in (32, 64, 128)]
    assert sides == [4, 4, 16]


def test_families_take_any_depth_and_width() -> None:
    info = model_info("wrn_28_4")
    assert (info.features, info.family) == (256, "wrn")
    assert model_info("resnet26").parameters == 278324 + (472756 - 278324) // 2  # halfway from resnet20 to resnet32
    assert model_info("resnet8x2").features == 128
    assert model_info("resnet8x1").parameters == model_info("resnet8").parameters
    assert model_info("ResNet34").features == 512
    assert model_info("resnet50").parameters != model_info("ResNet50").parameters
    assert model_info("pycls-ResNet-20").parameters == model_info("resnet20").parameters
    assert model_info("resnet8", 7).classes == 7


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("resnet18", ["'resnet18'", "ResNet18", "6n + 2", "8, 14, 20"]),
        ("resnet2", ["6n + 2"]),
        ("wrn_17_2", ["6n + 4", "10, 16, 22", "wrn_16_2"]),
        ("vgg12", ["8, 11, 13, 16, 19"]),
        ("ResNet20", ["18, 34, 50, 101, 152"]),
        ("imagenet/ResNet20", ["18, 34, 50, 101, 152"]),
        ("pycls-ResNet-55", ["6n + 2"]),
        ("shufflev2", ["did you mean ShuffleV2"]),
        ("resnet-56", ["resnet56"]),
        ("DeiT", ["DeiT-Tiny"]),
        ("alexnet", ["wrn_DEPTH_WIDTH", "T2T-ViT-7", "imagenet/MobileNetV1"]),
    ],
)
def test_unknown_names_are_explained(name: str, parts: list[str]) -> None:
    with pytest.raises(ValueError, match="no network is called") as caught:
        create_model(name)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    with pytest.raises(ValueError, match="no network is called"):
        model_info(name)


def test_a_size_or_number_that_a_network_is_not_made_for_is_explained() -> None:
    with pytest.raises(ValueError, match="num_classes is 0"):
        create_model("resnet8", 0)
    with pytest.raises(ValueError, match=r"DeiT has positions for 224 x 224 images, got 32 x 32; resize"):
        create_model("DeiT-Tiny")(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("name", ["resnet8x4", "ResNet18", "wrn_16_2", "vgg8", "MobileNetV2", "pycls-ResNet-8"])
def test_convolutions_start_with_variance_of_two_over_fan_out(name: str) -> None:
    torch.manual_seed(0)
    for module in create_model(name).modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None or not module.bias.any()
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            if module.weight.numel() > 4000:  # enough values to estimate a deviation from
                assert float(module.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)


@pytest.mark.parametrize(
    ("name", "layer", "std", "bias"),
    [
        ("resnet8x4", "fc", 1 / math.sqrt(3 * 256), True),  # PyTorch's default: uniform within 1 / sqrt(inputs)
        ("ResNet18", "linear", 1 / math.sqrt(3 * 512), True),
        ("wrn_16_2", "fc", 1 / math.sqrt(3 * 128), False),
        ("vgg8", "classifier", 0.01, False),
        ("MobileNetV2", "classifier.0", 0.01, False),
        ("ShuffleV2", "linear", 1 / math.sqrt(3 * 1024), True),
        ("pycls-ResNet-8", "head.fc", 0.01, False),
        ("DeiT-Tiny-distilled", "head", 0, False),
        ("DeiT-Tiny-distilled", "distill_head", 0, False),
        ("DeiT-Tiny", "layers.3.mlp.fc1", 0.02, False),
        ("T2T-ViT-7", "layers.3.mlp.fc1", 0.02, False),
        ("PVT-Tiny", "block2.0.attn.kv", 0.02, False),
        ("PiT-Tiny", "transformers.1.blocks.0.mlp.fc1", 1 / math.sqrt(3 * 128), True),
    ],
)
def test_linear_layers_start_as_released(name: str, layer: str, std: float, bias: bool) -> None:
    torch.manual_seed(0)
    linear = create_model(name).get_submodule(layer)
    assert isinstance(linear, nn.Linear)
    assert float(linear.weight.detach().std()) == pytest.approx(std, rel=0.05)
    assert bool(linear.bias.any()) == bias


@pytest.mark.parametrize("depth", [18, 50])
def test_imagenet_resnets_start_as_those_of_torchvision(depth: int) -> None:
    def made(make: Any) -> nn.Module:
        torch.manual_seed(0)
        return make(f"resnet{depth}", num_classes=5)

    theirs = made(import_torchvision().models.get_model)
    ours = made(lambda name, **options: create_model(f"imagenet/{name.replace('resnet', 'ResNet')}", **options))
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert all(torch.equal(value, ours.state_dict()[key]) for key, value in theirs.state_dict().items())
    assert torch.equal(ours(x := torch.randn(2, 3, 64, 64)), theirs(x))
    assert not torch.equal(ours.conv1.weight, create_model(f"imagenet/ResNet{depth}").conv1.weight)


def test_fixed_parameters_of_t2t() -> None:
    model = create_model("T2T-ViT-7")
    fixed = [key for key, parameter in model.named_parameters() if not parameter.requires_grad]
    assert fixed == ["pos_embed", "t2t_module.attention.0.attn.w", "t2t_module.attention.1.attn.w"]
    w = model.t2t_module.attention[0].attn.w
    torch.testing.assert_close(w @ w.T, 32 * torch.eye(32), atol=1e-4, rtol=0)
    assert model.pos_embed[0, 3, :2].tolist() == pytest.approx([math.sin(3), math.cos(3)])
    assert float(model.pos_embed[0, 5, 7]) == pytest.approx(math.cos(5 / 10000 ** (6 / 256)))


LAYERS = {"DeiT-Tiny": (0, 6, 11), "DeiT-Tiny-distilled": (0, 6, 11), "PiT-Tiny": (0, 6, 11), "PVT-Tiny": (0, 3, 7)}


@pytest.mark.parametrize(("name", "layers"), [*LAYERS.items(), ("T2T-ViT-7", (0, 3, 6))])
def test_locality_guidance_gets_one_map_for_each_stage_of_the_teacher(name: str, layers: tuple[int, ...]) -> None:
    model = fill(create_model(name)).eval()
    x = images(5, (1, 3, 224, 224)).float()
    with torch.no_grad():
        every, maps = model.run(x)[0], model.stage_features(x)
        assert all(torch.equal(stage, every[layer]) for stage, layer in zip(maps, layers, strict=True))
        if name == "DeiT-Tiny":  # a map is made of the patches' tokens
            tokens = []
            model.layers[6].register_forward_hook(lambda module, inputs, output: tokens.append(output))
            assert torch.equal(model.stage_features(x)[1][0, :, 2, 3], tokens[0][0, 1 + 2 * 14 + 3])


def test_distilled_transformer_trains_on_one_head() -> None:
    model = fill(create_model("DeiT-Tiny-distilled"))
    for layer in model.layers:
        layer.drop_path.rate = 0.0
    x = images(5, (1, 3, 224, 224)).float()
    with torch.no_grad():
        of_class, of_distillation = model.eval().forward_heads(x)
        torch.testing.assert_close(model.train()(x), of_class)
        assert not torch.allclose(of_class, of_distillation)


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    path, x = DropPath(0.25).train(), torch.ones(4000, 2, 3)
    dropped = path(x)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (dropped == dropped[:, :1, :1]).all()  # whole samples
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(path.eval()(x), x)


@pytest.mark.data
@pytest.mark.skipif("LSKD_TEACHERS" not in os.environ, reason="LSKD_TEACHERS names no folder of cifar100_resnetN.pth")
@pytest.mark.parametrize(("depth", "accuracy"), [(20, 68.83), (32, 70.16), (44, 71.63), (56, 72.63)])
def test_real_teachers(depth: int, accuracy: float) -> None:
    model = create_model(f"resnet{depth}").eval()
    load_checkpoint(model, Path(os.environ["LSKD_TEACHERS"]) / f"cifar100_resnet{depth}.pth")
    if "LSKD_DATA" not in os.environ:
        pytest.skip("weights load; LSKD_DATA names no folder with CIFAR-100 to test them on")
    statistics = {"mean": [0.5070, 0.4865, 0.4409], "std": [0.2673, 0.2564, 0.2761]}  # of these weights
    data = load_dataset("cifar100", **statistics)
    assert evaluate(model, data.test_images, data.test_labels, data).accuracy == pytest.approx(accuracy, abs=0.02)


FILES = sorted((ROOT / "results").glob("*/*/seed-*/*.safetensors"))
LARGEST = 600_000  # bytes: a resnet20
ROUNDED = 0.1  # points: what float16 may move of 10,000 answers


@pytest.mark.data
@pytest.mark.skipif(not (data_root() / "cifar100.npz").is_file(), reason="CIFAR-100 is not here")
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_committed_student_scores_what_its_record_says(path: Path) -> None:
    assert path.stat().st_size <= LARGEST
    record = json.loads(path.parent.with_suffix(".json").read_text(encoding="utf-8"))
    dataset = load_dataset(record["config"]["dataset"], **record["config"]["data"])
    model = create_model(record["config"]["student"], dataset.classes)
    load_checkpoint(model, path)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = evaluate(model, dataset.test_images, dataset.test_labels, dataset).accuracy
    assert found == pytest.approx(record["members"][path.stem]["last"]["test_accuracy"], abs=ROUNDED)
