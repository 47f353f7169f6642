# Everything here needs Go, git and make, and nothing else: tools are pinned in modules under
# hack/ and run with `go tool`, the control plane for tests and demo is built by hack/localcluster.

GO ?= go
# The image that deploy and build-installer name.
IMG ?= hookline:latest
# How long make fuzz runs each target.
FUZZTIME ?= 60s
# How long one package's tests may take.
TEST_TIMEOUT ?= 15m
# What bin/hookline says its version is.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# What make run, bench, chaos and soak add to their command lines.
RUN_ARGS ?=
BENCH_ARGS ?=
CHAOS_ARGS ?=
SOAK_ARGS ?=
CONTAINER_TOOL ?= docker

BIN := $(CURDIR)/bin
DIST := $(CURDIR)/dist
LOCAL_KUBECONFIG := $(BIN)/localcluster.kubeconfig

TOOL := $(GO) tool -modfile=$(CURDIR)/hack/tools/go.mod
LINT_TOOL := $(GO) tool -modfile=$(CURDIR)/hack/tools/lint/go.mod

# Modules with code of ours, and all modules, tools' included.
CODE_MODULES := . hack/localcluster
MODULES := $(CODE_MODULES) hack/tools hack/tools/lint

# Sets assets to the folder with etcd, kube-apiserver, kube-controller-manager and kubectl, built
# where they are missing. The first build takes about seven minutes on two cores.
WITH_ASSETS := assets="$$($(GO) run -C hack/localcluster . assets)" || exit 1;

.DEFAULT_GOAL := help

##@ General

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "; print "Usage: make <target>"} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: clean
clean: ## Remove what make builds here (the control plane in the user's cache folder stays)
	rm -rf "$(BIN)" "$(DIST)"

##@ Development

.PHONY: generate
generate: ## Generate the deep-copy functions of the resources
	$(TOOL) controller-gen object paths=./api/...

.PHONY: manifests
manifests: ## Generate the CustomResourceDefinitions and the operator's role
	$(TOOL) controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=hookline-manager paths=./controllers/... output:rbac:artifacts:config=config/rbac

.PHONY: docs
docs: ## Generate the reference of the resources into docs/reference
	mkdir -p docs/reference
	$(TOOL) crd-ref-docs --log-level=ERROR --config=hack/crd-ref-docs.yaml --source-path=api/v1alpha1 \
		--renderer=markdown --output-path=docs/reference/v1alpha1.md

.PHONY: fmt
fmt: ## Format the code
	@for module in $(CODE_MODULES); do (cd "$$module" && $(GO) fmt ./...) || exit 1; done

.PHONY: tidy
tidy: ## Tidy every module
	@for module in $(MODULES); do $(GO) mod tidy -C "$$module" || exit 1; done

.PHONY: vet
vet: ## Run go vet
	@for module in $(CODE_MODULES); do $(GO) vet -C "$$module" ./... || exit 1; done

.PHONY: lint
lint: ## Run golangci-lint
	@for module in $(CODE_MODULES); do \
		(cd "$$module" && $(LINT_TOOL) golangci-lint run --config "$(CURDIR)/.golangci.yml" ./...) || exit 1; \
	done

.PHONY: lint-api
lint-api: ## Run kube-api-linter on the resources
	$(LINT_TOOL) golangci-lint-kube-api-linter run --config hack/kube-api-linter.yml ./api/...

.PHONY: import-rules
import-rules: ## Check that packages import one another in the one allowed direction
	$(GO) run ./hack/importrules

.PHONY: verify
verify: ## Regenerate, format, tidy, vet, lint, check the import rules; fail when that changed a file
	@$(MAKE) --no-print-directory generate
	@$(MAKE) --no-print-directory manifests
	@$(MAKE) --no-print-directory fmt
	@$(MAKE) --no-print-directory docs
	@$(MAKE) --no-print-directory tidy
	@$(MAKE) --no-print-directory clean-tree
	@$(MAKE) --no-print-directory vet
	@$(MAKE) --no-print-directory import-rules
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory lint-api

.PHONY: clean-tree
clean-tree: ## Fail, with the difference, when the work tree is not as committed
	@if [ -n "$$(git status --porcelain)" ]; then \
		git --no-pager diff HEAD; git status --short; \
		echo "The work tree differs from the last commit: commit what make generated." >&2; \
		exit 1; \
	fi

##@ Tests

.PHONY: assets
assets: ## Build the control plane for tests and demo into the user's cache folder, unless it is there
	@$(GO) run -C hack/localcluster . assets

.PHONY: test
test: ## Run all tests, against a real kube-apiserver and etcd
	@$(WITH_ASSETS) for module in $(CODE_MODULES); do \
		KUBEBUILDER_ASSETS="$$assets" $(GO) test -C "$$module" -timeout $(TEST_TIMEOUT) ./... || exit 1; \
	done

.PHONY: test-race
test-race: ## Run all tests with the race detector (needs a C compiler)
	@$(WITH_ASSETS) for module in $(CODE_MODULES); do \
		KUBEBUILDER_ASSETS="$$assets" $(GO) test -C "$$module" -race -timeout $(TEST_TIMEOUT) ./... || exit 1; \
	done

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (60s)
	@git grep --untracked '^func Fuzz' -- '*_test.go' | sed 's|/[^/]*:func | |; s|(.*||' | while read -r dir target; do \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$dir" || exit 1; \
	done

##@ Measures

.PHONY: bench
bench: ## Measure the dispatcher beside its limits, fail where a target is missed; writes bin/bench.json and docs/benchmarks.md
	$(GO) run ./hack/bench -docs docs/benchmarks.md $(BENCH_ARGS)

.PHONY: chaos
chaos: ## Kill the dispatcher at random and fill, flip, cut and step what it stands on; fail where an event is lost
	$(GO) run ./hack/chaos --out bin/chaos.json $(CHAOS_ARGS)

.PHONY: soak
soak: ## Run at half load for 30 minutes; fail where memory, descriptors or latency grow
	$(GO) run ./hack/chaos --soak --soak-out bin/soak $(SOAK_ARGS)

##@ Try it

.PHONY: demo
demo: build ## Watch the whole: a real control plane, the operator, published events, verified deliveries
	$(GO) build -o "$(BIN)/hookline-demo" ./internal/cmd/demo
	$(GO) build -C hack/localcluster -o "$(BIN)/localcluster" .
	@$(WITH_ASSETS) KUBEBUILDER_ASSETS="$$assets" exec "$(BIN)/hookline-demo" --binary "$(BIN)/hookline" --localcluster "$(BIN)/localcluster"

.PHONY: cluster
cluster: ## Run a local control plane until Ctrl-C; its kubeconfig is bin/localcluster.kubeconfig
	$(GO) build -C hack/localcluster -o "$(BIN)/localcluster" .
	@exec "$(BIN)/localcluster" up --kubeconfig "$(LOCAL_KUBECONFIG)"

.PHONY: run
run: build ## Run the operator against the control plane of make cluster; tokens of the tenant default are in bin/tokens
	@test -f "$(LOCAL_KUBECONFIG)" || { echo "There is no local control plane: run make cluster in another terminal first." >&2; exit 1; }
	@$(WITH_ASSETS) "$$assets/kubectl" --kubeconfig "$(LOCAL_KUBECONFIG)" apply --server-side -k config/crd
	@umask 077 && mkdir -p "$(BIN)/tokens" && for right in publish admin; do \
		test -f "$(BIN)/tokens/default.$$right" || \
			od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$(BIN)/tokens/default.$$right"; \
	done
	exec "$(BIN)/hookline" all --kubeconfig "$(LOCAL_KUBECONFIG)" --leader-election-namespace default --log-format text \
		--data-dir "$(BIN)/data" --tokens-dir "$(BIN)/tokens" --allow-private-targets 127.0.0.0/8 $(RUN_ARGS)

##@ Build and install

.PHONY: build
build: ## Build bin/hookline, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o "$(BIN)/hookline" .

.PHONY: image
image: ## Build the container image IMG with CONTAINER_TOOL (docker)
	$(CONTAINER_TOOL) build --build-arg VERSION="$(VERSION)" --tag "$(IMG)" .

.PHONY: build-installer
build-installer: ## Render dist/install.yaml and dist/provider.yaml for the image IMG
	mkdir -p "$(DIST)"
	$(TOOL) kustomize build config/default > "$(DIST)/install.yaml.tmp"
	sed 's|image: hookline:latest$$|image: $(IMG)|' "$(DIST)/install.yaml.tmp" > "$(DIST)/install.yaml"
	rm "$(DIST)/install.yaml.tmp"
	$(TOOL) kustomize build config/default-provider > "$(DIST)/provider.yaml"

.PHONY: install
install: ## Install the CustomResourceDefinitions into the cluster of the current kubeconfig
	@$(WITH_ASSETS) "$$assets/kubectl" apply --server-side -k config/crd

.PHONY: uninstall
uninstall: ## Remove the CustomResourceDefinitions from there, and with them every resource
	@$(WITH_ASSETS) "$$assets/kubectl" delete --ignore-not-found -k config/crd

.PHONY: deploy
deploy: build-installer ## Install everything into the cluster of the current kubeconfig
	@$(WITH_ASSETS) "$$assets/kubectl" apply --server-side -f "$(DIST)/install.yaml" && \
		"$$assets/kubectl" wait --for=condition=Established crd -l app.kubernetes.io/name=hookline && \
		"$$assets/kubectl" apply --server-side -f "$(DIST)/provider.yaml"

.PHONY: undeploy
undeploy: build-installer ## Remove everything from there: resources first, so that the operator can clean up after them
	@$(WITH_ASSETS) "$$assets/kubectl" delete --ignore-not-found --all --all-namespaces webhooksubscriptions.hookline.dev && \
		"$$assets/kubectl" delete --ignore-not-found -f "$(DIST)/provider.yaml" && \
		"$$assets/kubectl" delete --ignore-not-found -f "$(DIST)/install.yaml"
