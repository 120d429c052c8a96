# FLARE's submission form: a container that turns /workspace/inputs into /workspace/outputs by `sh predict.sh`.
#
#   docker build -t nvauto .                                                    torch's CPU build
#   docker build -t nvauto --build-arg PIP_OPTIONS= .                           its CUDA build; docs/gpu.md names others
#   docker build -t stmt --build-arg SUBMISSION=weights/stmt .                  another submission folder
#
# As the organizers start it, a container a case (JunMa11/FLARE, FLARE24/Efficiency.py); without a GPU leave out --gpus:
#
#   docker container run --shm-size=28gb -m 28G --gpus="device=1" --name nvauto --rm \
#       -v $PWD/inputs/:/workspace/inputs/ -v $PWD/outputs/:/workspace/outputs/ nvauto:latest /bin/bash -c "sh predict.sh"

FROM python:3.11-slim

ARG PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"
ARG SUBMISSION=weights/nvauto

ENV XDG_CACHE_HOME=/workspace/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /workspace

COPY requirements.lock ./
RUN python -m pip install --no-cache-dir $PIP_OPTIONS -r requirements.lock

COPY pyproject.toml LICENSE package/
COPY flare_core package/flare_core
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation ./package && rm -r package

COPY ${SUBMISSION} submission
COPY predict.sh ./

# A container lives for one case: what the first start would build is built here, on a synthetic CT.
RUN flare cohort warm --cases 1 --seed 0 --profile tiny \
    && flare predict warm/imagesTr --out warm/labels --model submission --device cpu && rm -r warm

CMD ["sh", "predict.sh"]
