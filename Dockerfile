# One static binary and the authorities it trusts; nothing else is in the image.
# Built for another platform it cross-compiles: docker build --platform linux/arm64 .
FROM --platform=$BUILDPLATFORM golang:1.26-alpine AS build

RUN apk add --no-cache ca-certificates

WORKDIR /src

# The modules first: they change less often than the code.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download

COPY . .

ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/go/build-cache \
    GOCACHE=/go/build-cache CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/hookline .

# Folders for scratch and journal that the user below may write to.
RUN mkdir -p /writable/tmp /writable/var/lib/hookline && chmod 1777 /writable/tmp

FROM scratch

COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /writable/ /
COPY --from=build /out/hookline /hookline

USER 65532:65532
ENTRYPOINT ["/hookline"]
