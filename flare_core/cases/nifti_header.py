"""Read and write the fixed part of a NIfTI header, refusing what cannot be a CT before anything is allocated.

Serves reading: all checks that need no voxel. Only fields with a meaning here are known by name; on writing all
others are zero, so that no free text of the scanner or the patient is ever passed on.

References:
    nifti1.h and nifti2.h (field offsets, data type codes, magic strings).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flare_core.cases.bad_input import BadInput
from flare_core.cases.geometry import Geometry, HeaderForms

MAX_VOXELS = 2**30
"""Most voxels of one volume: twice FLARE's longest scan (512 x 512 x 2000)."""
MAX_SERIES_VOXELS = 2**34
"""Most voxels of all volumes of a series together; they are passed over, not held."""
MAX_EXTENSION_BYTES = 2**24


def _layout(size: int, **fields: tuple[str, int]) -> np.dtype:
    """Return a header's record type from name=(format, offset)."""
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": size})


NIFTI1 = _layout(
    348,
    sizeof_hdr=("i4", 0),
    regular=("S1", 38),
    dim=("8i2", 40),
    datatype=("i2", 70),
    bitpix=("i2", 72),
    pixdim=("8f4", 76),
    vox_offset=("f4", 108),
    scl_slope=("f4", 112),
    scl_inter=("f4", 116),
    xyzt_units=("u1", 123),
    qform_code=("i2", 252),
    sform_code=("i2", 254),
    quatern=("3f4", 256),
    qoffset=("3f4", 268),
    srow=("12f4", 280),
    magic=("S4", 344),
)
NIFTI2 = _layout(
    540,
    sizeof_hdr=("i4", 0),
    magic=("S8", 4),
    datatype=("i2", 12),
    bitpix=("i2", 14),
    dim=("8i8", 16),
    pixdim=("8f8", 104),
    vox_offset=("i8", 168),
    scl_slope=("f8", 176),
    scl_inter=("f8", 184),
    qform_code=("i4", 344),
    sform_code=("i4", 348),
    quatern=("3f8", 352),
    qoffset=("3f8", 376),
    srow=("12f8", 400),
    xyzt_units=("i4", 500),
)
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_CODES = {np.dtype(name): code for code, name in _DTYPES.items()}
_COMPLEX = {32: "complex", 1792: "complex", 2048: "complex"}
_NOT_SCALAR = {1: "1-bit", 128: "RGB", 1536: "128-bit float", 2304: "RGBA", **_COMPLEX}


@dataclass(frozen=True)
class Header:
    """What the header says about the voxels, checked.

    Attributes:
        shape: voxels along the three stored axes.
        volumes: number of 3D volumes in the file (1 for a CT).
        dtype: type of a stored voxel, byte order included.
        offset: bytes before the first voxel.
        slope, intercept: stored value * slope + intercept is the value meant.
        forms: the fields that place the volume.
        warnings: what was odd but could be read.
    """

    shape: tuple[int, int, int]
    volumes: int
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    forms: HeaderForms
    warnings: tuple[str, ...]

    @property
    def voxels(self) -> int:
        """Voxels of one volume."""
        return math.prod(self.shape)

    @property
    def is_scaled(self) -> bool:
        """Whether stored values differ from the values meant."""
        return (self.slope, self.intercept) != (1.0, 0.0)


def header_size(start: bytes) -> int | None:
    """Return the size of the fixed header that begins with these bytes, or None if it is no NIfTI header.

    Args:
        start: at least the first 4 bytes of the uncompressed file.
    """
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    return next((size for size in (348, 540) if size in sizes), None)


def parse_header(raw: bytes, path: Path) -> Header:
    """Read the fixed header and check everything that it alone can tell.

    Args:
        raw: the first 348 (NIfTI-1) or 540 (NIfTI-2) bytes of the uncompressed file.
        path: for messages only.
    Raises:
        BadInput: no NIfTI header, not a scalar 3D volume, sizes that cannot be, or more voxels than `MAX_VOXELS`.
    """
    size = header_size(raw)
    if size is None or len(raw) < size:
        raise BadInput(path, "expected a NIfTI file, found no NIfTI header; convert it (for instance with dcm2niix)")
    layout = NIFTI1 if size == 348 else NIFTI2
    order = "<" if int.from_bytes(raw[:4], "little") == size else ">"
    fields = np.frombuffer(raw, layout.newbyteorder(order), count=1)[0]
    magic = bytes(fields["magic"])
    if not magic.startswith((b"n+1", b"n+2")):
        kind = "a header/image pair" if magic.startswith(b"ni") else f"magic {magic!r}"
        raise BadInput(path, f"expected a single-file NIfTI, found {kind}; save it as one .nii.gz file")
    warnings: list[str] = []
    shape, volumes = _sizes(fields, path, warnings)
    dtype = _voxel_type(fields, path, order, warnings)
    slope, intercept = _scaling(fields, path, warnings)
    forms = HeaderForms(
        version=1 if size == 348 else 2,
        pixdim=tuple(float(number) for number in fields["pixdim"][:4]),
        quaternion=tuple(float(number) for number in fields["quatern"]),
        qoffset=tuple(float(number) for number in fields["qoffset"]),
        srow=tuple(float(number) for number in fields["srow"]),
        qform_code=int(fields["qform_code"]),
        sform_code=int(fields["sform_code"]),
        unit=int(fields["xyzt_units"]) & 7,
    )
    offset = _offset(fields, path, size)
    return Header(shape, volumes, dtype, offset, slope, intercept, forms, tuple(warnings))


def pack_header(geometry: Geometry, dtype: np.dtype) -> bytes:
    """Return the bytes before the first voxel of a single-file NIfTI with this geometry (little endian, no extension).

    Args:
        geometry: its forms are written as they are, in its own NIfTI version.
        dtype: a type of the NIfTI standard.
    Raises:
        ValueError: if the shape does not fit the version's header.
    """
    forms = geometry.forms
    if forms.version == 1 and max(geometry.shape) > np.iinfo(np.int16).max:
        raise ValueError(f"NIfTI-1 holds at most 32767 voxels along an axis, got {geometry.shape}; use NIfTI-2")
    layout = NIFTI1 if forms.version == 1 else NIFTI2
    fields = np.zeros((), layout.newbyteorder("<"))
    offset = 352 if forms.version == 1 else 544  # 4 bytes say that no extension follows
    fields["sizeof_hdr"] = layout.itemsize
    fields["dim"] = (3, *geometry.shape, 1, 1, 1, 1)
    fields["datatype"] = _CODES[np.dtype(dtype).newbyteorder("=")]
    fields["bitpix"] = 8 * np.dtype(dtype).itemsize
    fields["pixdim"] = (*forms.pixdim, 1, 1, 1, 1)
    fields["vox_offset"] = offset
    fields["scl_slope"] = 1
    fields["xyzt_units"] = forms.unit
    fields["qform_code"] = forms.qform_code
    fields["sform_code"] = forms.sform_code
    fields["quatern"] = forms.quaternion
    fields["qoffset"] = forms.qoffset
    fields["srow"] = forms.srow
    fields["magic"] = b"n+1" if forms.version == 1 else b"n+2\0\r\n\x1a\n"
    if forms.version == 1:
        fields["regular"] = b"r"
    return fields.tobytes().ljust(offset, b"\0")


def _sizes(fields: np.void, path: Path, warnings: list[str]) -> tuple[tuple[int, int, int], int]:
    """Return the three sizes and the number of volumes."""
    dims = int(fields["dim"][0])
    if not 1 <= dims <= 7:
        raise BadInput(path, f"expected 3 dimensions, the header says {dims}; it is damaged, fetch the file again")
    sizes = tuple(int(size) for size in fields["dim"][1 : dims + 1])
    if min(sizes) < 1:
        raise BadInput(path, f"expected sizes of at least 1, the header says {sizes}; it is damaged, fetch it again")
    if dims < 3:
        raise BadInput(path, f"need a 3D volume, got {dims}D {sizes}; stack the slices into one volume first")
    shape, volumes = sizes[:3], math.prod(sizes[3:])
    if math.prod(shape) > MAX_VOXELS or math.prod(sizes) > MAX_SERIES_VOXELS:
        raise BadInput(
            path,
            f"expected at most {MAX_VOXELS} voxels a volume, the header says {sizes}, refused unread; "
            "fetch the file again, or crop it",
        )
    if dims > 3 and volumes == 1:
        warnings.append(f"{dims}D {sizes} with one volume only: read as 3D {shape}")
    return shape, volumes


def _voxel_type(fields: np.void, path: Path, order: str, warnings: list[str]) -> np.dtype:
    """Return the stored voxel's type."""
    code = int(fields["datatype"])
    if code not in _DTYPES:
        kind = _NOT_SCALAR.get(code, "an unknown type")
        raise BadInput(path, f"not a scalar image: data type {code} ({kind}); export the CT as 16-bit integers")
    dtype = np.dtype(_DTYPES[code]).newbyteorder(order)
    bits = int(fields["bitpix"])
    if bits != 8 * dtype.itemsize:
        warnings.append(f"bitpix is {bits} where data type {code} has {8 * dtype.itemsize}: the data type was believed")
    return dtype


def _scaling(fields: np.void, path: Path, warnings: list[str]) -> tuple[float, float]:
    """Return slope and intercept, (1, 0) where the header's make no sense or say "not scaled"."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or math.isnan(slope):
        warnings.append(f"scl_slope is {slope:g}: values were read as stored")
        return 1.0, 0.0
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise BadInput(path, f"expected a finite value scale, found slope {slope}, intercept {intercept}; export again")
    return slope, intercept


def _offset(fields: np.void, path: Path, size: int) -> int:
    """Return the byte where voxels start; 0 means right after the header."""
    offset = float(fields["vox_offset"])
    if offset == 0:
        return size + 4
    if not (math.isfinite(offset) and size <= offset <= MAX_EXTENSION_BYTES and offset == int(offset)):
        raise BadInput(
            path,
            f"expected voxels at byte {size} to {MAX_EXTENSION_BYTES}, the header says {offset}; it is damaged, "
            "fetch the file again",
        )
    return int(offset)
