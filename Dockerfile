# Two images, of which the CUDA one is untested (no GPU and no Docker engine were to be had):
#   docker build --target cpu  -t guided-splatting .
#   docker build --target cuda -t guided-splatting:cuda .
#   docker run --rm -v "$PWD:/data" guided-splatting train.py -s /data/scene -m /data/output --lambda_sds 0
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04

FROM ${PYTHON_IMAGE} AS cpu
# A torch without CUDA is a tenth of the size; it comes from PyTorch's own wheel index, whose "+cpu" counts as newer.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/guided-splatting
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "${TORCH_INDEX}" -r requirements.txt
COPY . .
# Numba keeps the compiled rasteriser here; it is compiled now, so that no run waits for it.
ENV NUMBA_CACHE_DIR=/var/cache/numba
RUN mkdir -p "${NUMBA_CACHE_DIR}" \
 && python train.py -s examples/still_life -m /tmp/warm --lambda_sds 0 --iterations 2 --quiet \
 && rm -r /tmp/warm && chmod -R a+rwX "${NUMBA_CACHE_DIR}"
ENTRYPOINT ["python"]
CMD ["train.py", "--help"]

FROM ${CUDA_IMAGE} AS cuda
# One CUDA version throughout: the base image, torch's wheel, and gsplat, compiled here against both.
ARG TORCH_VERSION=2.7.1
ARG TORCHVISION_VERSION=0.22.1
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG GSPLAT_VERSION=1.5.3
# Compute capabilities to compile for, Volta to Blackwell; fewer build faster.
ARG TORCH_CUDA_ARCH_LIST="7.0;7.5;8.0;8.6;8.9;9.0;12.0"
# gsplat would start ten compilers at once, each of which wants about 4 GB.
ARG MAX_JOBS=2
ENV TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST} MAX_JOBS=${MAX_JOBS}
ENV TORCH_EXTENSIONS_DIR=/opt/torch_extensions NUMBA_CACHE_DIR=/var/cache/numba
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-dev python3-venv g++ \
 && rm -rf /var/lib/apt/lists/* && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH}
WORKDIR /opt/guided-splatting
COPY requirements.txt ./
# constraints.txt is for the CPU's torch; this stage states its own versions.
RUN pip install --no-cache-dir --index-url "${TORCH_INDEX}" \
      "torch==${TORCH_VERSION}" "torchvision==${TORCHVISION_VERSION}" \
 && pip install --no-cache-dir -r requirements.txt ninja packaging rich \
      "torch==${TORCH_VERSION}" "torchvision==${TORCHVISION_VERSION}" "gsplat==${GSPLAT_VERSION}" \
 && python -c "from gsplat.cuda._backend import _C; assert _C is not None, 'gsplat did not compile'" \
 && mkdir -p "${NUMBA_CACHE_DIR}" && chmod -R a+rwX "${NUMBA_CACHE_DIR}" "${TORCH_EXTENSIONS_DIR}"
COPY . .
ENTRYPOINT ["python"]
CMD ["train.py", "--help"]
