package controlplane

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// clusterName names the cluster, its user and its context, and so marks the kubeconfigs written here.
const clusterName = "hookline-localcluster"

// renderKubeconfig returns a kubeconfig that carries everything it needs, certificates included, so
// that it may be copied anywhere. It is written as JSON, which every reader of YAML takes.
func renderKubeconfig(url, caFile string, client pair) ([]byte, error) {
	var content [3][]byte

	for i, file := range []string{caFile, client.cert, client.key} {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a certificate for the kubeconfig: %w", err)
		}

		content[i] = data
	}

	type object = map[string]any

	rendered, err := json.MarshalIndent(object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{"name": clusterName, "cluster": object{
			"server": url, "certificate-authority-data": content[0],
		}}},
		"users": []object{{"name": clusterName, "user": object{
			"client-certificate-data": content[1], "client-key-data": content[2],
		}}},
		"contexts": []object{{"name": clusterName, "context": object{
			"cluster": clusterName, "user": clusterName,
		}}},
		"current-context": clusterName,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering the kubeconfig: %w", err)
	}

	return append(rendered, '\n'), nil
}

// writeKubeconfig writes content to path, readable by the owner alone. It refuses to replace a file
// that another program wrote: that may be the way to somebody's real clusters.
func writeKubeconfig(path string, content []byte) error {
	existing, err := os.ReadFile(path)

	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("looking at the kubeconfig to replace: %w", err)
	case len(existing) > 0 && !bytes.Contains(existing, []byte(`"current-context": "`+clusterName+`"`)):
		return fmt.Errorf("%s holds a kubeconfig that is not of a local cluster: name another path, or remove it", path)
	}

	if err := WriteFile(path, content); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}

	return nil
}

// WriteFile writes a file that its owner alone may read, so that whoever waits for it to appear
// finds it complete. It makes the folder where that is missing.
func WriteFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}

	// CreateTemp gives the file the permissions 0600.
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("making a temporary file: %w", err)
	}
	defer os.Remove(temp.Name())

	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Close()); err != nil {
		return fmt.Errorf("writing a temporary file: %w", err)
	}

	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("placing the file: %w", err)
	}

	return nil
}
