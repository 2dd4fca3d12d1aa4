// Tells a kubelet of a CSI driver beside it, as Kubernetes' node-driver-registrar does in a pod:
// s3-csi-registrar NAME SOCKET FOLDER. FOLDER is where the kubelet looks for plugins.
package main

import (
	"context"
	"log"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

type registrar struct {
	registration.UnimplementedRegistrationServer
	name, socket string
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("s3-csi-registrar NAME SOCKET FOLDER")
	}
	r := &registrar{name: os.Args[1], socket: os.Args[2]}
	folder := os.Args[3]
	if err := os.MkdirAll(folder, 0o755); err != nil {
		log.Fatal(err)
	}
	own := filepath.Join(folder, r.name+"-reg.sock")
	_ = os.Remove(own)
	listener, err := net.Listen("unix", own)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, r)
	log.Fatal(server.Serve(listener))
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              r.name,
		Endpoint:          r.socket,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r *registrar) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		log.Fatal(status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}
